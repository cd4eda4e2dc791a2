"""Composites of type vote and mbr, which choose among their members' answers."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swarm.engines.base import Completion, Member, Request
from swarm.errors import UserError
from swarm.members.composite import Composite, Relay, check_keys, json_digest, member_names, one_of
from swarm.text.numbers import as_number, final_number
from swarm.text.replies import after_markers, one_line, own_part_first
from swarm.text.thoughts import without_thoughts

Utility = Callable[[str, str], float]  # how well the first text agrees with the second; 1 is in full

_LETTER = re.compile(r"(?<!\w)([A-Z])(?!\w)")


@dataclass(frozen=True)
class Ballot(Composite):
    """A composite of type vote or mbr.

    Attributes:
      way: what counts as the same answer (vote), or how alike two answers are (mbr).
      abstain: answers that are no votes, as `way` reads them.
    """

    way: str
    abstain: frozenset[str] = frozenset()

    def with_members(self, members: Mapping[str, Member]) -> "Chosen":
        """The composite's member with these members as they now are."""
        asked = tuple(members[name] for name in self.members)
        digests = [member.digest for member in asked]
        digest = json_digest(self.record["type"], self.way, sorted(self.abstain), digests)
        if self.record["type"] == "vote":
            return MajorityVote(self.name, digest, asked, self.way, self.abstain)
        return NearestToAll(self.name, digest, asked, self.way)


@dataclass(frozen=True)
class Chosen(Relay):
    """The base of both: asks every member its own prompt and chooses one of their answers.

    Attributes:
      way: see `Ballot`.
    """

    way: str

    def pass_on(self, requests: Sequence[Request]) -> list[list[Request]]:
        """The same prompt for every member."""
        return [[replace(request, member=member) for member in self.members] for request in requests]

    def go_on(self, request: Request, stages: Sequence[Sequence[Completion]]) -> Completion:
        """The chosen answer; it has cost nothing beyond its members'."""
        chosen = stages[0][self.choose([completion.text for completion in stages[0]])]
        return Completion(chosen.text, 0, 0, chosen.was_cut(request.params))

    def choose(self, texts: Sequence[str]) -> int:
        """The index of the chosen text."""
        raise NotImplementedError


@dataclass(frozen=True)
class MajorityVote(Chosen):
    """Majority vote over the members' answers; ties go to the first in the members' order.

    The text is that of the first member who gave it. Where nobody's text is a vote, it is the first member's.
    """

    abstain: frozenset[str]
    kind = "vote"

    def choose(self, texts: Sequence[str]) -> int:
        """The index of the first text with the most frequent ballot."""
        ballots = [READINGS[self.way](text) for text in texts]
        votes = Counter(ballot for ballot in ballots if ballot is not None and ballot not in self.abstain)
        return ballots.index(votes.most_common(1)[0][0]) if votes else 0


class NearestToAll(Chosen):
    """Minimum Bayes risk (MBR) decoding over the members' answers: the one that agrees best with all others.

    Every answer counts once per member who gave it; of equals the first is taken (Kumar & Byrne 2004; the published
    results combine it with DeePEn, arXiv 2404.12715, table 1).
    """

    kind = "mbr"

    def choose(self, texts: Sequence[str]) -> int:
        """The index of the text with the highest mean utility against the others."""
        utility = UTILITIES[self.way]
        agreement = [
            sum(utility(text, other) for j, other in enumerate(texts) if j != i) for i, text in enumerate(texts)
        ]
        return agreement.index(max(agreement))


def read_ballot(folder: Path, record: Mapping[str, Any], path: Path) -> Ballot:
    """A vote or mbr composite. Raises UserError for a field that it cannot have."""
    members = member_names(path, record)
    if record["type"] == "mbr":
        check_keys(path, record, ("type", "members", "utility"))
        utility = one_of(path, record, "utility", tuple(UTILITIES))
        if utility == "chrf":
            _chrf()
        return Ballot(folder.name, folder, record, members, utility)
    check_keys(path, record, ("type", "members", "by", "abstain"))
    abstain = record.get("abstain", [])
    if not isinstance(abstain, list) or not all(isinstance(word, str) for word in abstain):
        raise UserError(f"{path}: abstain is {abstain!r}; wanted a list of answers that are no votes")
    by = one_of(path, record, "by", tuple(READINGS))
    # a word that cannot be read so is no vote anyway
    silent = frozenset(ballot for word in abstain if (ballot := READINGS[by](word)) is not None)
    return Ballot(folder.name, folder, record, members, by, silent)


def _whole_answer(text: str) -> str | None:
    """The ballot of an answer: the text behind its last marker, or all of it; numbers by value, else in lower case."""
    own = own_part_first(one_line(without_thoughts(text)))[0]
    answer = next((part for part in after_markers(own) if part.strip()), own).strip().rstrip(".").casefold()
    number = as_number(answer)
    return (answer or None) if number is None else str(number.normalize())


def _number(text: str) -> str | None:
    number = final_number(one_line(without_thoughts(text)))
    return None if number is None else str(number.normalize())


def _letter(text: str) -> str | None:
    """The letter that an answer picks: the first after its last marker that has one, else the first of all."""
    own = own_part_first(one_line(without_thoughts(text)))[0]
    found = (_LETTER.search(part) for part in (*after_markers(own), own))
    return next((match[1] for match in found if match), None)


def shared_words(guess: str, other: str) -> float:
    """F1 of two texts' bags of words, in lower case; 1.0 for two empty ones (Rajpurkar et al. 2016, SQuAD)."""
    words, others = (Counter(one_line(text).casefold().split()) for text in (guess, other))
    if not words and not others:
        return 1.0
    return 2 * (words & others).total() / (words.total() + others.total())


def _chrf() -> Any:
    try:
        from sacrebleu.metrics import CHRF
    except ImportError:
        raise UserError("mbr with utility chrf needs sacrebleu: pip install sacrebleu, or use words") from None
    return CHRF()


def _chrf_score(guess: str, other: str) -> float:
    return float(_chrf().sentence_score(guess, [other]).score) / 100


READINGS: dict[str, Callable[[str], str | None]] = {"answer": _whole_answer, "number": _number, "letter": _letter}
UTILITIES: dict[str, Utility] = {"words": shared_words, "chrf": _chrf_score}
