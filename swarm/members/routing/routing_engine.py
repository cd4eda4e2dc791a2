"""An engine wrapper that picks members for routers, with the experts' resident base model where they need one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from swarm.engines.base import Completion, Engine, Finished, Request
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.engines.wrapper import EngineWrapper
from swarm.errors import UserError
from swarm.members.routing.choice_request import RouterRequest, choice_as_completion
from swarm.members.routing.interfaces import LanguageModel
from swarm.members.routing.router import Router
from swarm.members.routing.router_artefact import load_router


@dataclass(frozen=True)
class RoutedCount:
    """Counts of a router's choices: prompts, those that fell back, and prompts by member's name."""

    prompts: int
    fell_back: int
    by_member: dict[str, int]


class RoutingEngine(EngineWrapper[Engine]):
    """Chooses for routers, in batches of one pass each, and leaves all other requests to the inner engine.

    Attributes:
      inner: which answers for all other members.
      host: the experts' engine, whose base model routers of kind hidden read with.
    """

    own = RouterRequest

    def __init__(self, inner: Engine, host: InProcessEngine, choosers: Sequence[RouterRequest]):
        """Loads the routers. Raises UserError for one that is damaged, or was made with another base model."""
        super().__init__(inner)
        self.host = host
        # full models are their own base: there is none to read with
        self._reader = None if host.pool.models else language_model_of(host)
        # of each composite the one that was asked last: a search that fits them again uses one at a time
        self._routers = {chooser.name: (chooser.digest, self._loaded(chooser)) for chooser in choosers}
        self._routed: dict[str, RoutedCount] = {}

    @property
    def routed(self) -> dict[str, RoutedCount]:
        """The counts so far, by composite; cached choices are not in them."""
        return dict(self._routed)

    def _answer(self, requests: Sequence[Request]) -> Iterator[Finished]:
        chooser = requests[0].member
        assert isinstance(chooser, RouterRequest)
        yield list(enumerate(self._choices(chooser, [request.prompt for request in requests])))

    def _choices(self, chooser: RouterRequest, prompts: list[str]) -> list[Completion]:
        digest, router = self._routers.get(chooser.name, ("", None))
        if router is None or digest != chooser.digest:
            self._routers.pop(chooser.name, None)  # makes room first
            router = self._loaded(chooser)
            self._routers[chooser.name] = (chooser.digest, router)
        if router.features is not None and router.features.kind == "hidden":
            self.host.clear()  # the base's own states, whichever expert has spoken last
        choices = router.choose(prompts)
        before = self._routed.get(chooser.name, RoutedCount(0, 0, dict.fromkeys(router.names, 0)))
        by_member = dict(before.by_member)
        for choice in choices:
            by_member[router.names[choice.member]] += 1
        fell_back = before.fell_back + sum(choice.fell_back for choice in choices)
        self._routed[chooser.name] = RoutedCount(before.prompts + len(choices), fell_back, by_member)
        return [choice_as_completion(choice) for choice in choices]

    def _loaded(self, chooser: RouterRequest) -> Router:
        router = load_router(chooser.folder, language_model=self._reader)
        if chooser.router not in ("", router.digest):  # its choices would be kept as those of the one that was there
            raise UserError(f"{chooser.folder} was fitted again since this program began; start it again")
        return router if chooser.threshold is None else replace(router, threshold=chooser.threshold)


def language_model_of(engine: Any) -> LanguageModel:
    """The bare base model of an engine, or of the experts' engine within it, for features of kind hidden."""
    while not isinstance(engine, InProcessEngine):
        engine = engine.inner
    engine.clear()
    return LanguageModel(engine.model, engine.tokenizer, engine.facts()["base"], f"base model {engine.pool.base}")
