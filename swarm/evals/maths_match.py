"""Mathematical equality: exact match that also knows 1/2 for 0.5, (x+1)^2 for x^2+2x+1, and sets for sets."""

import importlib.util
import json
import logging
import selectors
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from swarm.data.example import Dataset, Example
from swarm.errors import UserError
from swarm.evals.eval import Judging
from swarm.evals.exact_match import ExactMatch
from swarm.system.prompts import written
from swarm.text.replies import own_text

# without the current folder, whose files could hide the library's
_WORKER = "import sys; sys.path[:] = filter(None, sys.path); from swarm.evals.maths_worker import main; main()"
_SECONDS = 5.0  # that a comparison may take
_STARTING_SECONDS = 120.0  # that loading the library may take
_MOST_CHARACTERS = 20_000  # of a reply, from its end: what is equal stands there

log = logging.getLogger(__name__)


class MathsMatch(ExactMatch):
    """The share of examples whose right answer the reply gives, in any form that is mathematically equal.

    Equality is math-verify's (Hugging Face, Apache-2.0): the last expression of the reply, in LaTeX or plain, is
    simplified and compared. What exact_match reads as right is right here, too; the scorer compat stays as published.
    """

    name = "maths_match"

    def check(self, dataset: Dataset) -> None:
        """As `ExactMatch.check`; raises UserError, too, where math-verify is not installed."""
        if importlib.util.find_spec("math_verify") is None:
            raise UserError('-e maths_match needs math-verify, which is not installed: pip install "h-swarm[maths]"')
        super().check(dataset)

    def judge(self, dataset: Dataset, examples: Sequence[Example]) -> Judging:
        """Asks every question once; each scorer gives 1.0 or 0.0 per example."""
        asking = super().judge(dataset, examples)
        queries = next(asking)
        replies = yield queries
        try:
            asking.send(replies)
        except StopIteration as done:
            scores = done.value
        rows = list(zip(replies, examples, queries, scores["strict"], strict=True))
        equal = [right or self._is_equal(reply, example, query.text) for reply, example, query, right in rows]
        return scores | {"strict": np.array(equal, dtype=float)}

    def _is_equal(self, reply: str, example: Example, asked: str) -> bool:
        said = own_text(written(reply), asked, example.question)[-_MOST_CHARACTERS:]
        return bool(said) and any(is_equal(gold, said) for gold in example.golds)


@lru_cache(maxsize=65536)
def is_equal(gold: str, reply: str) -> bool:
    """Whether the last expression of a reply equals the right answer; what cannot be told in time is not equal."""
    worker = _worker()
    found = worker.ask(gold, reply)
    if found is None:
        _worker.cache_clear()
        log.warning("%r and %r cannot be compared within %g s: not equal", gold[:40], reply[-40:], _SECONDS)
    return bool(found)


class _Worker:
    """A process that compares."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", _WORKER]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._answer(_STARTING_SECONDS) is None:
            raise UserError("math-verify does not start: see what `python -c 'import math_verify'` says")

    def ask(self, gold: str, reply: str) -> bool | None:
        """The answer; None where it does not come in time, and then the process has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([gold, reply]) + "\n")
        self._process.stdin.flush()
        return self._answer(_SECONDS)

    def _answer(self, seconds: float) -> bool | None:
        process = self._process
        assert process.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if ready.select(seconds) else ""
        if not line:
            process.kill()
            process.wait()
            return None
        return bool(json.loads(line))


@lru_cache(maxsize=1)
def _worker() -> _Worker:
    return _Worker()
