"""An engine wrapper that ranks and fuses answers for blends."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from swarm.engines.base import Completion, Engine, Finished, Request
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.engines.wrapper import EngineWrapper
from swarm.errors import UserError
from swarm.members.blending.blend_request import Fuses, Ranks, order_as_completion, read_asked
from swarm.members.blending.fuser import Fuser, load_fuser
from swarm.members.blending.pair_models import PairModel, load_pair_model
from swarm.members.blending.pairwise import best_first

_Model = TypeVar("_Model", PairModel, Fuser)
_AT_ONCE = 256  # prompts whose answers are ranked or fused before what was found is kept


@dataclass(frozen=True)
class BlendCount:
    """Counts of a blend's rankings and fusions; cached ones are not in them.

    Attributes:
      ranked: prompts whose answers were ranked.
      comparisons: for that, each order of a pair counting as one.
      fused: texts made.
      prompt_tokens, new_tokens: read and written for those.
    """

    ranked: int = 0
    comparisons: int = 0
    fused: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0

    def __add__(self, other: "BlendCount") -> "BlendCount":
        return BlendCount(*(own + more for own, more in zip(vars(self).values(), vars(other).values(), strict=True)))


class BlendingEngine(EngineWrapper[Engine]):
    """Ranks and fuses answers in batches, and leaves all other requests to the inner engine.

    Rankers are float32 whatever the experts are; fusers have the number format of the experts' base.

    Attributes:
      inner: which answers for all other members.
      host: the experts' engine, whose device is shared.
      blended: what was done so far, by composite.
    """

    own = Ranks | Fuses

    def __init__(self, inner: Engine, host: InProcessEngine, wanted: Sequence[Ranks | Fuses]):
        """Loads the models, each once. Raises UserError for one that cannot be had or is of the wrong kind."""
        super().__init__(inner)
        self.host = host
        self.blended: dict[str, BlendCount] = {}
        self._rankers: dict[str, PairModel] = {}
        self._fusers: dict[str, Fuser] = {}
        for one in wanted:
            if isinstance(one, Ranks):
                self._ranker(one)
            else:
                self._fuser(one)

    def _answer(self, requests: Sequence[Request]) -> Iterator[Finished]:
        for start in range(0, len(requests), _AT_ONCE):
            part = requests[start : start + _AT_ONCE]
            yield list(enumerate(self._blend(part), start))

    def _blend(self, requests: Sequence[Request]) -> list[Completion]:
        """The completions of requests of one group."""
        member, params = requests[0].member, requests[0].params
        read = [read_asked(request.prompt) for request in requests]
        prompts, answers = [prompt for prompt, _ in read], [own for _, own in read]
        if isinstance(member, Ranks):
            return self._ranked(member, prompts, answers)
        assert isinstance(member, Fuses)
        return self._fused(member, prompts, answers, params.max_new_tokens)

    def _ranked(self, member: Ranks, prompts: list[str], answers: list[list[str]]) -> list[Completion]:
        model = self._ranker(member)
        before = model.asked
        orders = best_first(model, prompts, answers, member.mode, member.top)
        self._count(member.name, BlendCount(ranked=len(prompts), comparisons=model.asked - before))
        return [order_as_completion(order) for order in orders]

    def _fused(self, member: Fuses, prompts: list[str], answers: list[list[str]], most: int) -> list[Completion]:
        fuser = self._fuser(member)
        read, written = fuser.prompt_tokens, fuser.new_tokens
        texts = fuser.fuse(prompts, answers, most, member.settings)
        count = BlendCount(0, 0, len(texts), fuser.prompt_tokens - read, fuser.new_tokens - written)
        self._count(member.name, count)
        return [Completion(text, 0, 0) for text in texts]  # counted apart: nobody of the pool has written it

    def _count(self, name: str, count: BlendCount) -> None:
        self.blended[name] = self.blended.get(name, BlendCount()) + count

    def _ranker(self, member: Ranks) -> PairModel:
        if member.model not in self._rankers:
            self._rankers[member.model] = load_pair_model(member.model, device=str(self.host.device))
        return _as_meant(member, self._rankers[member.model])

    def _fuser(self, member: Fuses) -> Fuser:
        if member.model not in self._fusers:
            fuser = load_fuser(member.model, device=str(self.host.device), dtype=self.host.dtype)
            self._fusers[member.model] = fuser
        return _as_meant(member, self._fusers[member.model])


def _as_meant(member: Ranks | Fuses, model: _Model) -> _Model:
    """The model; UserError if it is not the one whose digest was read before, under which answers are cached."""
    if model.settings()["digest"] != member.content:
        raise UserError(f"{member.model} has changed since this program began; start it again")
    return model
