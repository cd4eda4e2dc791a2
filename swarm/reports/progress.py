"""Progress of a search: a bar on a terminal, one line per step elsewhere and in log.txt."""

import logging
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from swarm.evolution.config import SearchConfig
from swarm.evolution.forecast import duration
from swarm.evolution.state import Refresh, SearchState
from swarm.members.members import Members

log = logging.getLogger(__name__)

GLANCE = 0.5  # seconds between two looks at the workers
SELDOM = 10.0  # seconds between two lines about rounds that have found nothing better


class Progress:
    """Follows a search step by step and request by request."""

    def __init__(
        self,
        config: SearchConfig,
        nodes: int,
        dev_size: int,
        members: Members,
        glance: Callable[[], str] = str,
        bars: bool | None = None,
    ):
        """A graph has so many `nodes`; the initial `members` are scored alone at the start.

        `dev_size` counts questions to a system: examples, times the passes of the eval. `glance` says how it goes.
        `bars` are shown on a terminal by default.
        """
        self._glance, self._glanced = glance, 0.0
        self._bars = sys.stderr.isatty() if bars is None else bars
        self._config = config
        self._nodes = nodes
        self._dev = dev_size
        self._alone = len(members.names)
        self._singles = 3 if members.composites else 2  # scored beside the found system at the end
        self._bar: tqdm | None = None  # type: ignore[type-arg]
        self._began = time.monotonic()
        self._seconds: list[float] = []
        self._told = 0.0

    def before(self, state: SearchState) -> None:
        """A step begins."""
        self._began = time.monotonic()
        best = f", best {state.best.score:.3f}" if state.best else ""
        self._show_bar(f"{_place(state, self._config)}{best}", self._requests(state))

    def final(self, examples: int) -> None:
        """Begins the bar of the final scores: the found system and a few members alone on so many examples."""
        self._show_bar("final scores", (self._nodes + self._singles) * examples)

    def _show_bar(self, title: str, requests: int) -> None:
        if self._bars:
            self._bar = tqdm(total=requests or None, desc=title, unit="req", leave=False)

    def answered(self) -> None:
        """Counts one answered request."""
        if self._bar is not None:
            if (now := time.monotonic()) > self._glanced + GLANCE:
                self._glanced = now
                self._bar.set_postfix_str(self._glance(), refresh=False)
            self._bar.update()

    def after(self, before: SearchState, state: SearchState, shared: int, asked: int, workers: str = "") -> None:
        """A step is done: says what it brought, and how `workers` were busy."""
        self.close()
        self._seconds.append(time.monotonic() - self._began)
        if state.by_candidates:
            self._after_round(before, state, workers)
            return
        swarm = state.graphs if before.next_step.endswith("role") else state.experts
        assert swarm is not None and state.best is not None
        what = "best graph" if before.next_step.endswith("role") else "best expert's credit"
        new = "  <- new best" if before.best is None or state.best.score > before.best.score else ""
        log.info(
            "%-14s %s %.3f, best system %.3f, %d requests, %.0f%% shared, %s%s%s%s",
            _place(before, self._config),
            what,
            max(history[-1] for history in swarm.histories),
            state.best.score,
            asked,
            100 * shared / max(asked, 1),
            duration(self._seconds[-1]),
            self._left(state),
            f", {workers}" if workers else "",
            new,
        )
        for one in state.refreshed:
            log.info("%s", _refreshed(one))

    def _after_round(self, before: SearchState, state: SearchState, workers: str) -> None:
        """Says what a round brought: of those without a new best one every few seconds."""
        assert state.best is not None
        better = before.best is None or state.best.score > before.best.score
        now = time.monotonic()
        if not better and now < self._told + SELDOM:
            return
        self._told = now
        log.info(
            "%-10s best system %.3f, %s calls charged, %d candidates, %s%s%s",
            before.title,
            state.best.score,
            f"{state.charged[1]:,}",
            state.tried,
            duration(sum(self._seconds)),
            f", {workers}" if workers else "",
            "  <- new best" if better else "",
        )

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _requests(self, state: SearchState) -> int:
        config = self._config
        if state.by_candidates:
            return self._alone * self._dev if state.next_step == "start" else 0
        systems = config.graph_num if state.next_step.endswith("role") else config.trial_num
        if config.ask_ahead and state.next_step.endswith("weight") and state.iteration < config.max_iteration:
            systems += config.graph_num  # but where patience may end the search
        alone = self._alone if state.next_step == "start_role" else 0
        return (systems * self._nodes + alone) * self._dev

    def _left(self, state: SearchState) -> str:
        if state.next_step == "final":
            return ""
        steps = 2 * (self._config.max_iteration + 1) - state.steps_done
        recent = self._seconds[-4:]
        return f", at most {duration(steps * sum(recent) / len(recent))} left"


def _refreshed(one: Refresh) -> str:
    known = (
        f"{one.labelled} of {one.prompts} prompts, of {one.questions} dev questions, have answers of all its members"
    )
    if one.kept:
        return f"router {one.name} stays as it is ({one.kept}): {known}"
    return f"router {one.name} fitted again: {known}"


def _place(state: SearchState, config: SearchConfig) -> str:
    counted = state.iteration and not state.by_candidates
    return f"{state.title}/{config.max_iteration}" if counted else state.title
