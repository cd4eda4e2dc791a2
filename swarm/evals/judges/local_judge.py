"""A local model as the judge, by the same engine as the experts."""

from collections.abc import Callable, Generator, Sequence

from swarm.engines.base import Engine, GenerationParams, Request
from swarm.evals.judges.client import Gate, Reply, Ticket
from swarm.weights.pool import Expert


class LocalClient:
    """A judge client by an engine, which batches all prompts that it is given.

    Attributes:
      name: what messages call this judge.
      max_new_tokens: tokens that a reply may have at most.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], tuple[Engine, Expert]],
        max_new_tokens: int = 20,
        find: Callable[[], None] = lambda: None,
    ):
        """`load` brings the engine and what it is to be asked as, when that is first needed; `find` raises UserError
        if it could not."""
        self.name = name
        self.max_new_tokens = max_new_tokens
        self._load = load
        self._find = find
        self._loaded: tuple[Engine, Expert] | None = None

    def _model(self) -> tuple[Engine, Expert]:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def facts(self) -> dict[str, str]:
        """The facts that decide a reply: the content of the weights and the engine, not the name."""
        engine, expert = self._model()
        about = {f"engine {name}": value for name, value in engine.facts().items()}
        return {
            "provider": "local",
            "model": expert.digest,
            "max_new_tokens": str(self.max_new_tokens),
            **about,
        }

    def check(self) -> None:
        """Raises UserError if there is no such model; it is not loaded yet."""
        self._find()

    def ask(self, prompts: Sequence[str], gate: Gate) -> Generator[tuple[int, Reply], None, None]:
        """Asks all that the gate admits together; see `Client.ask`."""
        tickets: list[Ticket] = []
        for prompt in prompts:
            ticket = gate.admit(prompt)
            if ticket is None:
                break
            tickets.append(ticket)
        params = GenerationParams(self.max_new_tokens, chat=True)
        engine, expert = self._model()
        requests = [Request(expert, ticket.prompt, params) for ticket in tickets]
        for finished in engine.generate(requests):
            for index, completion in finished:
                reply = Reply(completion.text, completion.prompt_tokens, completion.new_tokens)
                gate.settle(tickets[index], reply)
                yield index, reply
