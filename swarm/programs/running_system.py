"""A found system with the engine that answers for it: asked, scored, changed, looked at."""

import html
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any, Literal, overload

import networkx as nx
import numpy as np

from swarm.data.example import Dataset, Example
from swarm.data.records import check_text
from swarm.engines.base import GenerationParams, Member, Turn
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.executor import Executor, SingleEngine
from swarm.engines.local.chat_template import tells_history
from swarm.engines.overrides import NAMES
from swarm.errors import UserError
from swarm.evals import get_eval
from swarm.evals.eval import query_of
from swarm.evolution.answer_records import FOUND, answer_records
from swarm.evolution.config import settings as settings_by_name
from swarm.evolution.final_scores import summarise
from swarm.evolution.fitness import Fitness
from swarm.evolution.setting import COMPUTE
from swarm.maths.interval import Estimate
from swarm.members.composite import label
from swarm.plugins import use_plugin_files
from swarm.programs.asking_checks import check_template_settings
from swarm.programs.engine_choice import make_executor
from swarm.programs.found_system import FoundSystem, check_data, check_eval_is_named
from swarm.programs.task import read_task, with_users_own
from swarm.reports.kept_answers import KeptAnswer, kept_answer
from swarm.reports.report import graph_as_text
from swarm.system.prompts import Query
from swarm.system.query_trace import QueryTrace
from swarm.system.scheduler import Scheduler
from swarm.system.system import System, graph_of

log = logging.getLogger(__name__)

ASKED_AS_SCORED = ("exact_match", "multiple_choice", "abstainqa")  # evals whose prompts can be made without a judge
_OF_ENGINES = {"base_model"} | {name for name, setting in settings_by_name().items() if setting.group == COMPUTE}
USUAL = GenerationParams(max_new_tokens=100)  # where a system was saved without


@dataclass(frozen=True)
class Score:
    """What a system scores.

    Attributes:
      estimates: scorer -> mean with its 95 % interval and size; the first is the eval's own.
      scores: scorer -> one score per question.
      answers: what was asked and answered, a question each.
    """

    estimates: Mapping[str, Estimate]
    scores: Mapping[str, np.ndarray]
    answers: tuple[KeptAnswer, ...]

    @property
    def mean(self) -> float:
        """The mean of the first scorer."""
        return next(iter(self.estimates.values())).mean

    def __repr__(self) -> str:
        return ", ".join(f"{name} {estimate}" for name, estimate in self.estimates.items())


class _Answering:
    """The engine of a system and of those made from it: loaded when it is first asked."""

    def __init__(self, found: FoundSystem):
        self._found = found
        self.told = False  # what is said once of a system
        self._open: tuple[Executor, CompletionCache, tuple[Member, ...]] | None = None

    def opened(self) -> tuple[Executor, CompletionCache, tuple[Member, ...]]:
        """What generates, what was answered before, and the members as the search asked them."""
        if self._open is None:
            params = with_users_own(self._found.system.params or USUAL, self._found.config)
            check_template_settings(self._found.system.saved, params)
            executor = make_executor(self._found.system.saved, self._found.config)
            system, cache = self._found.cached(executor)
            self._open = executor, cache, system.members
        return self._open

    def scheduler(self) -> Scheduler:
        """A new scheduler, which knows what was answered before."""
        executor, cache, _ = self.opened()
        return Scheduler(executor, cache)

    def close(self) -> None:
        """Ends the engine; it is loaded anew when it is asked again."""
        opened, self._open = self._open, None
        if opened is not None:
            opened[0].close()


class RunningSystem:
    """A system that answers.

    Nothing is loaded before it is first asked. `with` ends its engine, and so does `close`; systems made of it by
    `with_graph` and `with_member` share it.

    Attributes:
      found: where it is from, its settings, and what was noted with it.
      system: graph, assignment and members.
    """

    def __init__(self, found: FoundSystem, system: System | None = None, answering: _Answering | None = None):
        self.found = found
        self.system: System = found.system if system is None else system
        self._answering = answering or _Answering(found)

    @property
    def graph(self) -> nx.DiGraph:
        """A copy of its DAG: u -> v where u tells v; each node has its `member`, and the `end` speaks for all."""
        graph = nx.DiGraph(self.system.graph, end=self.system.end)
        nx.set_node_attributes(graph, {node: label(self.system.member_at(node)) for node in graph}, "member")
        return graph

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the members that `with_member` can put at a node."""
        return tuple(member.name for member in self.system.members)

    @property
    def params(self) -> GenerationParams:
        """How it generates."""
        return with_users_own(self.system.params or USUAL, self.found.config)

    def ask(self, question: str, choices: Mapping[str, str] | Sequence[str] = (), history: Sequence[Turn] = ()) -> str:
        """Its answer to a question, put as in the search: with the data's instruction, and as its eval asks.

        Args:
          choices: letter -> text, or texts, which get the letters A, B ...
          history: earlier turns, where the base's chat template has them (`tells_history`).
        """
        lettered = choices if isinstance(choices, Mapping) else dict(zip(ascii_uppercase, choices, strict=False))
        [trace] = self.answer([Example(question, "", choices=dict(lettered))], trace=True, history=history)
        return trace.text

    @overload
    def answer(
        self, questions: Iterable[str | Example], trace: Literal[False] = False, history: Sequence[Turn] = ()
    ) -> list[str]: ...

    @overload
    def answer(
        self, questions: Iterable[str | Example], trace: Literal[True], history: Sequence[Turn] = ()
    ) -> list[QueryTrace]: ...

    def answer(
        self, questions: Iterable[str | Example], trace: bool = False, history: Sequence[Turn] = ()
    ) -> list[str] | list[QueryTrace]:
        """Its answers, side by side; with `trace` what every node was asked and answered.

        Raises UserError if a model cannot be loaded, or a prompt is too long for it.
        """
        if isinstance(questions, str):
            raise UserError("answer takes several questions: hand in a list, or use ask")
        examples = [Example(one, "") if isinstance(one, str) else one for one in questions]
        for example in examples:
            check_text("a question", example.question)
            if not example.question.strip():
                raise UserError("a question is empty; wanted a text")
        queries = [replace(self._query(example), history=tuple(history)) for example in examples]
        traces = self._answering.scheduler().trace_all([(self._known(), queries)], self.params)[0]
        return traces if trace else [each.text for each in traces]

    def tells_history(self) -> bool:
        """Whether `history` reaches the models: their chat template is used and has earlier turns."""
        executor, *_ = self._answering.opened()
        engine: Any = executor.engine if isinstance(executor, SingleEngine) else None
        while engine is not None and not hasattr(engine, "tokenizer"):
            engine = getattr(engine, "inner", None)
        return engine is not None and tells_history(engine.tokenizer, self.params)

    def score(self, split: Literal["dev", "test"] = "test", **settings: Any) -> Score:
        """Its score on the data by which it was found, or others: settings by their names (dataset, eval_type, ...).

        Raises UserError for a setting that cannot be or that belongs to `swarm.load`, and where data of that name is
        other data.
        """
        if split not in ("dev", "test"):
            raise UserError(f"split is {split!r}; wanted dev or test")
        engines = [name for name in settings if name in _OF_ENGINES]
        if engines:
            raise UserError(f"{engines[0]} belongs to the engine, which is loaded once: give it to swarm.load")
        if settings.get("plugin"):
            use_plugin_files(settings["plugin"])
        found = self.found.with_settings(settings)
        check_eval_is_named(found)
        task = read_task(found.config).for_nodes(len(self.system.assignment))
        check_data(found, task)
        task.evaluation.prepare()
        scorer = task.evaluation.scorers[0]
        fitness = Fitness(self._answering.scheduler(), task.evaluation, task.dataset, found.params(task), scorer)
        examples = getattr(task.dataset, split)
        [judged] = fitness.judge_traced([self._known()], examples)
        numbers: dict[str, Any] = dict(summarise(judged.judgement, task.evaluation, examples))
        names = sorted(numbers, key=lambda name: name != scorer)
        records = answer_records(split, examples, {FOUND: judged}, task.evaluation)
        return Score(
            {name: Estimate(**numbers[name]) for name in names},
            {name: np.asarray(judged.judgement[name]) for name in names},
            tuple(map(kept_answer, records)),
        )

    def with_graph(self, graph: nx.DiGraph | Iterable[tuple[int, int]]) -> "RunningSystem":
        """The same nodes with other edges (u tells v). Raises UserError for a cycle, or for more than one end."""
        edges = graph.edges if isinstance(graph, nx.DiGraph) else graph
        nodes = len(self.system.assignment)
        try:
            new = graph_of(nodes, edges)
            if not nx.is_directed_acyclic_graph(new):
                raise ValueError("they have a cycle")
            return self._with(replace(self.system, graph=new, later_graph=None))
        except (ValueError, TypeError, nx.NetworkXException) as error:
            raise UserError(f"these edges make no graph of the nodes 0 to {nodes - 1} with one end: {error}") from error

    def with_member(self, node: int, member: str) -> "RunningSystem":
        """The same graph with another member at a node. Raises UserError for a node or a member that it lacks."""
        if node not in self.system.graph or member not in self.members:
            raise UserError(
                f"there is no node {node} or no member {member!r}; nodes are {sorted(self.system.graph)}, members "
                f"{', '.join(self.members)}"
            )
        assignment = list(self.system.assignment)
        assignment[node] = self.members.index(member)
        return self._with(replace(self.system, assignment=tuple(assignment)))

    def close(self) -> None:
        """Ends the engine, and with it that of the systems made of this one."""
        self._answering.close()

    def __enter__(self) -> "RunningSystem":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        about, params = self.found.about, self.params
        lines = [f"system of {len(self.system.graph)} nodes from {self.found.folder}", *graph_as_text(self.system)]
        found = f"found on {about.get('dataset', '?')} by {about.get('eval', '?')}"
        more = {name: value for name, value in params.record().items() if name in NAMES}
        told = "".join(f", {name} {value}" for name, value in more.items())
        return "\n".join(
            [*lines, f"{found}; at most {params.max_new_tokens} tokens, chat template {params.chat}{told}"]
        )

    def _repr_html_(self) -> str:
        from swarm.reports.pictures import graph_as_svg

        first, *_, last = repr(self).split("\n")
        try:
            return f"<p>{html.escape(first)}</p>{graph_as_svg(self.system)}<p>{html.escape(last)}</p>"
        except ImportError:  # without matplotlib
            return f"<pre>{html.escape(repr(self))}</pre>"

    def _with(self, system: System) -> "RunningSystem":
        return RunningSystem(self.found, system, self._answering)

    def _known(self) -> System:
        """The system with its experts as the search asked them, so that answers that are kept are found."""
        *_, members = self._answering.opened()
        return replace(self.system, members=members)

    def _query(self, example: Example) -> Query:
        about = self.found.about
        if "prefix" not in about and not self._answering.told:
            self._answering.told = True
            log.warning("%s does not say which instruction its data has in front of questions: an earlier version has "
                        "saved it, and questions are asked without", self.found.folder)  # fmt: skip
        dataset = Dataset(str(about.get("dataset", "")), (), (), str(about.get("prefix", "")))
        name = str(about.get("eval"))
        if name in ASKED_AS_SCORED and (example.choices or name == "exact_match"):
            return next(get_eval(name).judge(dataset, [example]))[0]
        return query_of(dataset, example)
