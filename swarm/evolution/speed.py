"""Speed of generation on this machine: measured within a time limit, and kept for later forecasts."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from swarm.engines.base import GenerationParams
from swarm.engines.executor import Executor
from swarm.engines.metered import Budget, Metered, Usage
from swarm.errors import BudgetReached, UserError
from swarm.storage.files import write_json
from swarm.storage.user_cache import own_cache
from swarm.system.prompts import Query, node_prompt
from swarm.system.scheduler import Scheduler
from swarm.system.system import single
from swarm.weights.pool import Expert

ENOUGH = 30.0  # seconds of measuring after which no further round begins
MOST = 120.0  # seconds after which a round is broken off
FIRST_TOKENS = 4  # of the first answers, which only show how slow the models are
SHORT = 8  # tokens of answers that take too long to be written to their end
FIRST_QUESTIONS = 4
FEW = 32  # questions to an expert at a time that leave much to gain by asking more
GROWTH, LEAST_GROWTH = 4, 1.5  # how many times the questions of the last round the next one has


@dataclass(frozen=True)
class Lengths:
    """Lengths of texts in tokens.

    Attributes:
      answer: of an answer, as a share of the most tokens that it may have.
      letters: of a token; English text has about four under the usual tokenizers.
    """

    answer: float = 1.0
    letters: float = 4.0


USUAL = Lengths()


@dataclass(frozen=True)
class Speed:
    """Tokens per second of prefill and decode.

    Attributes:
      read, written: tokens per second of prompts, and of answers, in batches as large as were measured.
      lengths: of the texts that it was measured on.
      rows: questions in such a batch.
    """

    read: float
    written: float
    lengths: Lengths = USUAL
    rows: int = 1

    def seconds(self, read: float, written: float) -> float:
        """The time of so many tokens."""
        return read / self.read + written / self.written


@dataclass(frozen=True)
class Round:
    """A measured round: experts asked the same questions twice, for one token and for whole answers.

    Attributes:
      experts, questions: how many.
      most: tokens that an answer might have.
      letters: of all prompts of one of the two times.
      first, whole: what that took.
    """

    experts: int
    questions: int
    most: int
    letters: int
    first: Usage
    whole: Usage

    def __str__(self) -> str:
        return (
            f"{self.experts} experts, {self.questions} questions, answers of at most {self.most} tokens: "
            f"{self.seconds:.1f} s"
        )

    @property
    def seconds(self) -> float:
        """The time of both parts."""
        return self.first.seconds + self.whole.seconds

    @property
    def mean_length(self) -> float:
        """The mean length of an answer in tokens."""
        return self.whole.new_tokens / (self.experts * self.questions)

    def forecast(self, most: int) -> float:
        """Seconds that such a round would take where each answer has `most` tokens."""
        tokens, seconds = self.whole.new_tokens - self.first.new_tokens, self.whole.seconds - self.first.seconds
        each = seconds / tokens if tokens > 0 and seconds > 0 else self.whole.seconds
        return 2 * self.first.seconds + each * self.experts * self.questions * most

    def speed(self, most: int) -> Speed:
        """The speed where an answer may have `most` tokens; shorter limits here count as answers of full length.

        Prompts were read twice and answers written once, which tells the two apart; where answers are too short or
        the clock too coarse for that, reading and writing are taken to be equally fast.
        """
        answer = self.mean_length / most if self.most == most else 1.0
        lengths = Lengths(answer, self.letters / self.first.prompt_tokens)
        seconds, tokens = self.whole.seconds - self.first.seconds, self.whole.new_tokens - self.first.new_tokens
        if tokens > 0 and seconds > 0:
            reading = self.first.seconds - self.first.new_tokens * seconds / tokens
            if reading > 0:
                return Speed(self.first.prompt_tokens / reading, tokens / seconds, lengths, self.questions)
        one = self.whole.tokens / max(self.whole.seconds, 1e-9)
        return Speed(one, one, lengths, self.questions)


class Measuring:
    """A measurement of speed by ever larger rounds.

    Attributes:
      rounds: what was asked so far.
    """

    def __init__(
        self, executor: Executor, experts: Sequence[Expert], queries: Sequence[Query], params: GenerationParams
    ):
        self.rounds: list[Round] = []
        self._meter = Metered(executor, budget=Budget(seconds=MOST))
        self._experts, self._queries, self._params = experts[: max(2, executor.workers)], queries, params
        self._most = max(query.max_new_tokens or params.max_new_tokens for query in queries)

    @property
    def seconds(self) -> float:
        """The time of all rounds."""
        return self._meter.usage.seconds

    def run(self, tell: Callable[[str], None]) -> Speed:
        """Rounds until half a minute is over, with few questions also beyond, up to two; `tell` is called with each.

        The last one counts: it has the largest batches, as a search has, and in it nothing is done for the first time.
        Raises UserError if not even the first few tokens come within the bound.
        """
        try:
            for size in self._sizes():
                self.rounds.append(self._round(*size))
                tell(str(self.rounds[-1]))
        except BudgetReached:
            if not self.rounds:
                raise UserError(
                    f"no answer of {FIRST_TOKENS} tokens came within {MOST:.0f} s, so there is nothing to measure: use "
                    "a smaller model or a faster device"
                ) from None
        return self.rounds[-1].speed(self._most)

    def _sizes(self) -> Iterator[tuple[int, int, int]]:
        """Experts, questions and tokens of each round, by what the rounds before it took."""
        few = min(FIRST_TOKENS, self._most)
        yield 1, 1, few
        if self.seconds < ENOUGH / 4:
            yield 1, 1, few  # without what is done only once
        experts, most = len(self._experts), self._most
        if experts * self.rounds[-1].forecast(most) > ENOUGH / 2:
            # of many answers at a time a token takes little longer than of one: a few of many tell more
            experts, most = 1, min(SHORT, most)
        one = experts * self.rounds[-1].forecast(most)
        questions = max(min(int(ENOUGH / 4 / one), FIRST_QUESTIONS, len(self._queries)), 1)
        yield experts, questions, most
        while questions < len(self._queries):
            bound = MOST if questions < FIRST_QUESTIONS else ENOUGH  # one at a time says little about many
            growth = min((bound - self.seconds) / self.rounds[-1].seconds, GROWTH)
            larger = min(int(questions * growth), len(self._queries))
            if growth < LEAST_GROWTH or larger == questions:
                return
            questions = larger
            yield experts, questions, most

    def _round(self, experts: int, questions: int, most: int) -> Round:
        letters = experts * sum(len(node_prompt(query, [])) for query in self._queries[:questions])
        passes = [self._ask(experts, questions, tokens) for tokens in (1, most)]
        return Round(experts, questions, most, letters, *passes)

    def _ask(self, experts: int, questions: int, most: int) -> Usage:
        asked = [replace(query, max_new_tokens=most) for query in self._queries[:questions]]
        tasks, before = [(single(expert), asked) for expert in self._experts[:experts]], self._meter.usage
        with tqdm(
            total=experts * questions, desc="measuring", unit="req", leave=False, disable=not sys.stderr.isatty()
        ) as bar:
            Scheduler(self._meter, on_answer=lambda *_: bar.update()).answer_all(tasks, self._params)
        return self._meter.usage.since(before)

    def __str__(self) -> str:
        last = self.rounds[-1]
        speed = last.speed(self._most)
        return (
            f"measured in {self.seconds:.0f} s: {speed.read:,.0f} tokens read and {speed.written:,.0f} written per "
            f"second, by {last.questions} questions to each of {last.experts} experts, whose answers had "
            f"{last.mean_length:.1f} tokens on average of at most {last.most}"
        )


def remember_speed(engine: str, task: str, speed: Speed) -> None:
    """Keeps a speed that was measured for this engine on this task, for later forecasts."""
    write_json(_speeds_file(), _speeds() | {engine: asdict(speed) | {"task": task}})


def known_speed(engine: str, task: str) -> Speed | None:
    """The speed measured for this engine; answers of another task count as if they were of full length."""
    known = _speeds().get(engine)
    if known is None:
        return None
    try:
        lengths = Lengths(known["lengths"]["answer"] if known["task"] == task else 1.0, known["lengths"]["letters"])
        speed = Speed(known["read"], known["written"], lengths, known["rows"])
        if not min(speed.read, speed.written, speed.rows, *vars(speed.lengths).values()) > 0:
            raise ValueError("numbers above 0 are wanted")
    except (TypeError, ValueError, KeyError) as error:
        raise _damaged(error) from error
    return speed


def _speeds_file() -> Path:
    return own_cache() / "speed.json"


def _speeds() -> dict[str, Any]:
    try:
        return dict(json.loads(_speeds_file().read_text(encoding="utf8")))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> UserError:
    return UserError(f"{_speeds_file()} is damaged ({error}): delete it and measure again (--calibrate)")
