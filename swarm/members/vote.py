"""Composites of type vote and mbr, which choose among their members' answers."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swarm.engines.base import Completion, Member, Request
from swarm.engines.sampling import Sampling, sampling_of, sampling_record
from swarm.errors import UserError
from swarm.members.composite import Composite, Relay, check_keys, json_digest, member_names, one_of
from swarm.text.numbers import as_number, final_number
from swarm.text.replies import after_markers, one_line, own_part_first
from swarm.text.thoughts import without_thoughts

Utility = Callable[[str, str], float]  # how well the first text agrees with the second; 1 is in full

_DRAWS = ("draws", "sampling")
_LETTER = re.compile(r"(?<!\w)([A-Z])(?!\w)")


@dataclass(frozen=True)
class Ballot(Composite):
    """A composite of type vote or mbr.

    Attributes:
      way: what counts as the same answer (vote), or how alike two answers are (mbr).
      abstain: answers that are no votes, as `way` reads them.
      draws: how many samples are drawn of each member.
      sampling: how they are drawn; None leaves it to the request.
    """

    way: str
    abstain: frozenset[str] = frozenset()
    draws: int = 1
    sampling: Sampling | None = None

    def with_members(self, members: Mapping[str, Member]) -> "Chosen":
        """The composite's member with these members as they now are."""
        asked = tuple(members[name] for name in self.members)
        digests = [member.digest for member in asked]
        parts: list[Any] = [self.record["type"], self.way, sorted(self.abstain), digests]
        if self.draws > 1 or self.sampling is not None:  # others have the digests that they have always had
            parts += [self.draws, None if self.sampling is None else sampling_record(self.sampling)]
        digest = json_digest(*parts)
        if self.record["type"] == "vote":
            return MajorityVote(self.name, digest, asked, self.way, self.draws, self.sampling, self.abstain)
        return NearestToAll(self.name, digest, asked, self.way, self.draws, self.sampling)


@dataclass(frozen=True)
class Chosen(Relay):
    """The base of both: asks every member its own prompt and chooses one of their answers.

    Attributes:
      way, draws, sampling: see `Ballot`.
    """

    way: str
    draws: int
    sampling: Sampling | None

    def pass_on(self, requests: Sequence[Request]) -> list[list[Request]]:
        """The same prompt for every member, as often as samples are drawn of it (self-consistency, arXiv 2203.11171).

        Raises UserError for several samples where answers are greedy, which would all be the same.
        """
        return [self._asked(request) for request in requests]

    def _asked(self, request: Request) -> list[Request]:
        params = request.params if self.sampling is None else replace(request.params, sampling=self.sampling)
        if self.draws > 1 and params.sampling is None:
            raise UserError(
                f"{self.name} draws {self.draws} answers of each member, which are all the same where answers are "
                'greedy: give --sampling temperature=.7, or "sampling": {"temperature": 0.7} in its node.json'
            )
        numbers = range(request.draw * self.draws, (request.draw + 1) * self.draws)
        return [replace(request, member=one, params=params, draw=number) for one in self.members for number in numbers]

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
    draws, sampling = _drawn(path, record)
    members = member_names(path, record, least=2 if draws == 1 else 1)
    if record["type"] == "mbr":
        check_keys(path, record, ("type", "members", "utility", *_DRAWS))
        utility = one_of(path, record, "utility", tuple(UTILITIES))
        if utility == "chrf":
            _chrf()
        return Ballot(folder.name, folder, record, members, utility, draws=draws, sampling=sampling)
    check_keys(path, record, ("type", "members", "by", "abstain", *_DRAWS))
    abstain = record.get("abstain", [])
    if not isinstance(abstain, list) or not all(isinstance(word, str) for word in abstain):
        raise UserError(f"{path}: abstain is {abstain!r}; wanted a list of answers that are no votes")
    by = one_of(path, record, "by", tuple(READINGS))
    # a word that cannot be read so is no vote anyway
    silent = frozenset(ballot for word in abstain if (ballot := READINGS[by](word)) is not None)
    return Ballot(folder.name, folder, record, members, by, silent, draws, sampling)


def _drawn(path: Path, record: Mapping[str, Any]) -> tuple[int, Sampling | None]:
    draws, sampling = record.get("draws", 1), record.get("sampling")
    if not isinstance(draws, int) or isinstance(draws, bool) or draws < 1:
        raise UserError(f"{path}: draws is {draws!r}; wanted a whole number from 1")
    if sampling is None:
        return draws, None
    if not isinstance(sampling, dict):
        raise UserError(f'{path}: sampling is {sampling!r}; wanted an object, such as {{"temperature": 0.7}}')
    return draws, sampling_of(f"{path}: sampling", sampling)


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
