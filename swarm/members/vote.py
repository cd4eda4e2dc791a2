"""Composites of type vote and mbr, which choose among their members' answers."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swarm.engines.base import Completion, GenerationParams, Member, Request
from swarm.engines.overrides import NAMES, Overrides, overrides_of
from swarm.errors import UserError
from swarm.members.composite import Composite, Relay, check_keys, json_digest, member_names, one_of
from swarm.text.numbers import as_number, final_number
from swarm.text.replies import after_markers, one_line, own_part_first
from swarm.text.thoughts import without_thoughts

Utility = Callable[[str, str], float]  # how well the first text agrees with the second; 1 is in full

_ASKED = ("draws", *NAMES)
_LETTER = re.compile(r"(?<!\w)([A-Z])(?!\w)")


@dataclass(frozen=True)
class Ballot(Composite):
    """A composite of type vote or mbr.

    Attributes:
      way: what counts as the same answer (vote), or how alike two answers are (mbr).
      abstain: answers that are no votes, as `way` reads them.
      draws: how many samples are drawn of each member.
      overrides: how members are asked otherwise than the vote is: sampling, stop strings and so on.
    """

    way: str
    abstain: frozenset[str] = frozenset()
    draws: int = 1
    overrides: Overrides = field(default_factory=Overrides)

    def with_members(self, members: Mapping[str, Member]) -> "Chosen":
        """The composite's member with these members as they now are."""
        asked = tuple(members[name] for name in self.members)
        digests = [member.digest for member in asked]
        parts: list[Any] = [self.record["type"], self.way, sorted(self.abstain), digests]
        own = self.overrides.record()
        if self.draws > 1 or own:  # others have the digests that they have always had
            sampling = own.pop("sampling", None)
            parts += [self.draws, sampling, *([own] if own else [])]
        digest = json_digest(*parts)
        if self.record["type"] == "vote":
            return MajorityVote(self.name, digest, asked, self.way, self.draws, self.overrides, self.abstain)
        return NearestToAll(self.name, digest, asked, self.way, self.draws, self.overrides)


@dataclass(frozen=True)
class Chosen(Relay):
    """The base of both: asks every member its own prompt and chooses one of their answers.

    Attributes:
      way, draws, overrides: see `Ballot`.
    """

    way: str
    draws: int
    overrides: Overrides

    def pass_on(self, requests: Sequence[Request]) -> list[list[Request]]:
        """The same prompt for every member, as often as samples are drawn of it (self-consistency, arXiv 2203.11171).

        Raises UserError as `asked_by` does.
        """
        return [self._asked(request) for request in requests]

    def _asked(self, request: Request) -> list[Request]:
        params = asked_by(self, request.params)
        numbers = range(request.draw * self.draws, (request.draw + 1) * self.draws)
        return [replace(request, member=one, params=params, draw=number) for one in self.members for number in numbers]

    def go_on(self, request: Request, stages: Sequence[Sequence[Completion]]) -> Completion:
        """The chosen answer; it has cost nothing beyond its members'."""
        chosen = stages[0][self.choose([completion.text for completion in stages[0]])]
        return Completion(chosen.text, 0, 0, chosen.was_cut(request.params))

    def choose(self, texts: Sequence[str]) -> int:
        """The index of the chosen text."""
        raise NotImplementedError


def asked_by(voting: Ballot | Chosen, params: GenerationParams) -> GenerationParams:
    """The parameters by which a vote's members are asked, where it is asked by these.

    Raises UserError for several samples where answers are greedy, which would all be the same, and for a system message
    or the like where there is no chat template.
    """
    params = replace(params, **voting.overrides.given())
    if params.idle:
        raise UserError(
            f"{voting.name} has {params.idle[0]} in its node.json, which is for the chat template, and is asked "
            "without: drop it there, or give --chat 1"
        )
    if voting.draws > 1 and params.sampling is None:
        raise UserError(
            f"{voting.name} draws {voting.draws} answers of each member, which are all the same where answers are "
            'greedy: give --sampling temperature=.7, or "sampling": {"temperature": 0.7} in its node.json'
        )
    return params


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
    draws, overrides = _draws(path, record), overrides_of(f"{path}: ", {name: record.get(name) for name in NAMES})
    members = member_names(path, record, least=2 if draws == 1 else 1)
    if record["type"] == "mbr":
        check_keys(path, record, ("type", "members", "utility", *_ASKED))
        utility = one_of(path, record, "utility", tuple(UTILITIES))
        if utility == "chrf":
            _chrf()
        return Ballot(folder.name, folder, record, members, utility, draws=draws, overrides=overrides)
    check_keys(path, record, ("type", "members", "by", "abstain", *_ASKED))
    abstain = record.get("abstain", [])
    if not isinstance(abstain, list) or not all(isinstance(word, str) for word in abstain):
        raise UserError(f"{path}: abstain is {abstain!r}; wanted a list of answers that are no votes")
    by = one_of(path, record, "by", tuple(READINGS))
    # a word that cannot be read so is no vote anyway
    silent = frozenset(ballot for word in abstain if (ballot := READINGS[by](word)) is not None)
    return Ballot(folder.name, folder, record, members, by, silent, draws, overrides)


def _draws(path: Path, record: Mapping[str, Any]) -> int:
    draws = record.get("draws", 1)
    if not isinstance(draws, int) or isinstance(draws, bool) or draws < 1:
        raise UserError(f"{path}: draws is {draws!r}; wanted a whole number from 1")
    return draws


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
