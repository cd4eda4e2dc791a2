"""How many answers were cut, empty or unreadable, and what may be done where that is many of them."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from swarm.data.example import Example
from swarm.evals.eval import Eval
from swarm.system.query_trace import MemberAnswer

log = logging.getLogger(__name__)

EARLY = 64  # answers after which a first look is taken
EVERY = 16  # of later answers, one in so many is looked at: reading a reply takes longer than passing it on
MANY_CUT, MANY_LOST, MANY_UNREAD = 0.5, 0.1, 0.5  # shares of the answers that are worth a warning
SHOWN = 60  # characters of an answer that a warning shows


@dataclass(frozen=True)
class ReplyCounts:
    """Counts of answers.

    Attributes:
      answers: all that were looked at.
      cut: stopped for want of tokens.
      empty: without a text.
      unreadable: with a text in which the eval finds no answer.
      cut_unreadable: both.
    """

    answers: int = 0
    cut: int = 0
    empty: int = 0
    unreadable: int = 0
    cut_unreadable: int = 0

    def __add__(self, other: "ReplyCounts") -> "ReplyCounts":
        ours, theirs = asdict(self), asdict(other)
        return ReplyCounts(**{name: ours[name] + theirs[name] for name in ours})


def count_of(answer: MemberAnswer, example: Example, evaluation: Eval) -> ReplyCounts:
    """The count of a single answer."""
    empty = not answer.text
    unreadable = not empty and not evaluation.readable(answer.text, example)
    return ReplyCounts(1, answer.cut, empty, unreadable, answer.cut and unreadable)


def counts_by_node(records: Sequence[Mapping[str, Any]]) -> dict[int, tuple[str, ReplyCounts]]:
    """node -> its member, and the counts of its answers to the first question about each example, by their records."""
    found: dict[int, tuple[str, ReplyCounts]] = {}
    for record in records:
        for node in record["asked"][0]["nodes"]:
            empty, unread = not node["answer"], bool(node["answer"]) and not node["readable"]
            count = ReplyCounts(1, node["cut"], empty, unread, node["cut"] and unread)
            before = found.get(node["node"], (node["member"], ReplyCounts()))[1]
            found[node["node"]] = node["member"], before + count
    return found


def complaints(by_whom: Mapping[str, ReplyCounts], most_tokens: int, eval_name: str, sample: str = "") -> list[str]:
    """A line for each fault that many answers have, with the cure; `by_whom` has the counts by whose they are."""
    return list(_complaints(by_whom, most_tokens, eval_name, sample))


def _complaints(by_whom: Mapping[str, ReplyCounts], most_tokens: int, eval_name: str, sample: str) -> Iterator[str]:
    every = sum(by_whom.values(), ReplyCounts())
    if every.cut >= MANY_CUT * every.answers or every.cut_unreadable >= MANY_LOST * every.answers:
        lost = f", {every.cut_unreadable} of these cannot be read" if every.cut_unreadable else ""
        yield (
            f"{every.cut} of {every.answers} answers were cut at {most_tokens} tokens{_mostly(by_whom, 'cut')}{lost}: "
            "where they had more to say, scores are low for that alone; allow more with --max_new_tokens"
        )
    if every.empty >= MANY_LOST * every.answers:
        yield (
            f"{every.empty} of {every.answers} answers were empty{_mostly(by_whom, 'empty')}: try with the base's chat "
            "template (--chat 1), or without (--chat 0)"
        )
    if every.unreadable - every.cut_unreadable >= MANY_UNREAD * every.answers:
        such = f", such as {sample!r}" if sample else ""
        yield (
            f"in {every.unreadable} of {every.answers} answers {eval_name} finds no answer"
            f"{_mostly(by_whom, 'unreadable')}{such}: try the chat template (--chat 1 or 0), or another eval (-e)"
        )


def _mostly(by_whom: Mapping[str, ReplyCounts], fault: str) -> str:
    """Whose answers have the fault more than others', if it is one of several."""
    if len(by_whom) < 2:
        return ""
    worst = max(by_whom, key=lambda who: getattr(by_whom[who], fault))
    count = getattr(by_whom[worst], fault)
    return f" ({count} of {by_whom[worst].answers} of {worst})"


class ReplyWatch:
    """Looks at the answers of the first evaluation as they come, and warns as soon as something is wrong with many."""

    def __init__(self, evaluation: Eval, examples: Sequence[Example], most_tokens: int):
        """The answers are to questions about `examples`, in at most so many tokens."""
        self._evaluation, self._examples, self._tokens = evaluation, examples, most_tokens
        self._seen = 0
        self._over = False
        self._by_member: dict[str, ReplyCounts] = {}
        self._sample = ""

    def answered(self, index: int, answer: MemberAnswer) -> None:
        """One more answer, to the query with this index."""
        if self._over or answer.most != self._tokens:  # a second question of an eval, which is to be short
            return
        self._seen += 1
        if self._seen > EARLY and self._seen % EVERY:
            return
        count = count_of(answer, self._examples[index % len(self._examples)], self._evaluation)
        self._by_member[answer.member] = self._by_member.get(answer.member, ReplyCounts()) + count
        if count.unreadable and not count.cut and not self._sample:
            self._sample = answer.text[:SHOWN]
        if self._seen == EARLY:
            self._over = self._warn(early=True)

    def end(self) -> None:
        """The evaluation is over; says what has not been said."""
        if self._by_member and not self._over:
            self._warn()
        self._over = True

    def _warn(self, early: bool = False) -> bool:
        """Whether there is something to warn of; early, of a single member perhaps, only what is cut or empty."""
        counts = self._by_member
        if early:
            counts = {who: replace(own, unreadable=own.cut_unreadable) for who, own in counts.items()}
        lines = complaints(counts, self._tokens, self._evaluation.name, self._sample)
        for line in lines:
            log.warning("%s", line)
        return bool(lines)


def as_rows(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The counts of every node, as JSON has them."""
    counts = counts_by_node(records)
    return [{"node": node, "member": counts[node][0]} | asdict(counts[node][1]) for node in sorted(counts)]
