"""What the nodes of candidates answer on dev, remembered by content, so that a neighbour asks only what has changed.

A node's answer follows from who it is, the question, and what it is told. Remembered by these, a candidate whose
answers are known costs a look-up for each node and question, without prompts, digests or graphs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swarm.evolution.candidate import Candidate, Who
from swarm.evolution.ledger import Ledger
from swarm.evolution.problem import Problem
from swarm.system.instructions import PUBLISHED
from swarm.system.prompts import written
from swarm.system.query_trace import MemberAnswer
from swarm.system.system import System
from swarm.system.walk import Known

_Kind = tuple[object, ...]
_Memo = dict[tuple[int, ...], int]  # (question, number of each predecessor's text ...) -> number of the text


@dataclass(frozen=True, eq=False)
class _Plan:
    """A candidate on some questions: which answers are known.

    Attributes:
      kinds: of each node, whose memo its answers are in.
      answers: of each node, the numbers of its texts by question; None where not known.
    """

    kinds: dict[int, int]
    answers: dict[int, list[int | None]]


class AnswerTable:
    """Answers candidates' nodes on dev, for an eval that asks once about each question."""

    def __init__(self, problem: Problem, ledger: Ledger):
        self._problem, self._ledger = problem, ledger
        self._queries = problem.fitness.queries()
        self._kinds: dict[_Kind, int] = {}
        self._memos: list[_Memo] = []
        self._texts: list[str] = []
        self._numbers: dict[tuple[str, str], int] = {}
        self._scores: dict[tuple[int, int], float] = {}
        # what a node reads of a context, or is told by its instruction, may depend on its place in the order
        self._by_position = problem.instructions.named["default"] is not PUBLISHED or any(
            query.chunks for query in self._queries
        )

    def scores(self, candidates: Sequence[Candidate], places: Sequence[int]) -> tuple[np.ndarray, list[int]]:
        """The candidates' scores on these dev questions, (candidates, places), and the calls charged for each."""
        plans = [self._plan(one, places) for one in candidates]
        asked = {}
        for number, (one, plan) in enumerate(zip(candidates, plans, strict=True)):
            unknown = [at for at, text in enumerate(plan.answers[one.end]) if text is None]
            if unknown:
                asked[number] = unknown
        charged = [0] * len(candidates)
        if asked:
            self._ask(candidates, plans, places, asked)
            for number, calls in zip(asked, self._ledger.settle(len(asked)), strict=True):
                charged[number] = calls
        ends = [plan.answers[one.end] for one, plan in zip(candidates, plans, strict=True)]
        return self._scored(ends, places), charged

    def _plan(self, one: Candidate, places: Sequence[int]) -> _Plan:
        kinds: dict[int, int] = {}
        answers: dict[int, list[int | None]] = {}
        system = self._problem.candidate_system(one) if self._by_position else None
        for node in one.order:
            kind = kinds[node] = self._kind(one, node, system)
            told = [answers[source] for source in one.told_by[node]]
            # a predecessor's answer that is not known is None, which no key of a memo holds
            answers[node] = list(map(self._memos[kind].get, zip(places, *told, strict=True)))
        return _Plan(kinds, answers)

    def _kind(self, one: Candidate, node: int, system: System | None) -> int:
        who: Who = one.nodes[node]
        parts: _Kind = (who, one.instructions[node] if one.instructions else "")
        if system is not None:
            parts += (system.position[node], len(one.nodes))
        if self._problem.fitness.params.sampling is not None:  # random numbers are by the member's name
            parts += (self._problem.candidate_system(one).member_at(node).name,)
        kind = self._kinds.get(parts)
        if kind is None:
            kind = self._kinds[parts] = len(self._memos)
            self._memos.append({})
        return kind

    def _ask(
        self,
        candidates: Sequence[Candidate],
        plans: Sequence[_Plan],
        places: Sequence[int],
        asked: dict[int, list[int]],
    ) -> None:
        """Has the nodes answered whose answers are not known, and remembers them in the plans and for later."""
        tasks, known = [], []
        for number, own in asked.items():
            answers = plans[number].answers
            before = [
                {node: self._as_answer(texts[at]) for node, texts in answers.items() if texts[at] is not None}
                for at in own
            ]
            indices = [places[at] for at in own]
            tasks.append((self._problem.candidate_system(candidates[number]), [self._queries[i] for i in indices]))
            known.append(Known(before, indices))
        fitness = self._problem.fitness
        traced = fitness.scheduler.trace_all(tasks, fitness.params, known, self._ledger.heard)
        for (number, own), traces in zip(asked.items(), traced, strict=True):
            one, plan = candidates[number], plans[number]
            for at, trace in zip(own, traces, strict=True):
                for node in one.order:
                    if plan.answers[node][at] is None:
                        told = [plan.answers[source][at] for source in one.told_by[node]]
                        text = plan.answers[node][at] = self._number(trace.answers[node].text)
                        self._memos[plan.kinds[node]][(places[at], *told)] = text  # type: ignore[arg-type]

    def _as_answer(self, number: int | None) -> MemberAnswer:
        assert number is not None
        return MemberAnswer("", self._texts[number], 0, 0, False)

    def _number(self, text: str) -> int:
        content = (str(text), written(text))
        number = self._numbers.get(content)
        if number is None:
            number = self._numbers[content] = len(self._texts)
            self._texts.append(text)
        return number

    def _scored(self, ends: Sequence[Sequence[int | None]], places: Sequence[int]) -> np.ndarray:
        pairs = [list(zip(places, own, strict=True)) for own in ends]
        new = [pair for pair in dict.fromkeys(pair for own in pairs for pair in own) if pair not in self._scores]
        if new:
            fitness = self._problem.fitness
            examples = [fitness.dataset.dev[place] for place, _ in new]
            scores = fitness.score_texts([self._texts[text] for _, text in new], examples)  # type: ignore[index]
            self._scores |= dict(zip(new, scores.tolist(), strict=True))  # type: ignore[arg-type]
        return np.array([[self._scores[pair] for pair in own] for own in pairs])  # type: ignore[index]
