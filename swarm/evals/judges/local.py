"""A model of one's own as the judge, asked through the engine that also answers for experts."""

from collections.abc import Generator, Sequence

from swarm.engines.base import Engine, GenerationParams, Request
from swarm.evals.judges.base import Gate, Reply, Ticket
from swarm.weights.pool import Expert


class LocalClient:
    """Asks an engine, which makes its own batches of all the prompts that it is given.

    Attributes:
      name: what messages call this judge.
      max_new_tokens: tokens that a reply may have at most.
    """

    def __init__(self, engine: Engine, expert: Expert, name: str, max_new_tokens: int = 20):
        self._engine = engine
        self._expert = expert
        self.name = name
        self.max_new_tokens = max_new_tokens

    def facts(self) -> dict[str, str]:
        """What decides a reply: the content of the weights and the engine, not the name."""
        engine = {f"engine {name}": value for name, value in self._engine.facts().items()}
        return {
            "provider": "local",
            "model": self._expert.digest,
            "max_new_tokens": str(self.max_new_tokens),
            **engine,
        }

    def check(self) -> None:
        """Nothing can be missing: the engine has loaded its model."""
        return

    def ask(self, prompts: Sequence[str], gate: Gate) -> Generator[tuple[int, Reply], None, None]:
        """Asks all that the gate admits together; see `Client.ask`."""
        tickets: list[Ticket] = []
        for prompt in prompts:
            ticket = gate.admit(prompt)
            if ticket is None:
                break
            tickets.append(ticket)
        params = GenerationParams(self.max_new_tokens, chat=True)
        requests = [Request(self._expert, ticket.prompt, params) for ticket in tickets]
        for index, completion in self._engine.generate(requests):
            reply = Reply(completion.text, completion.prompt_tokens, completion.new_tokens)
            gate.settle(tickets[index], reply)
            yield index, reply
