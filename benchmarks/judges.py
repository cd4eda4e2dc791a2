"""What asking a judge eight questions at a time brings, with a judge of a fixed slowness on the loopback interface."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.measure import Row, check_equal, exactly, interleaved, median_of
from benchmarks.parts import ROOT
from swarm.evals.judges.judge import Judge
from swarm.evals.judges.openai_server import OpenAIClient

AT_ONCE = 8


@dataclass(frozen=True)
class Size:
    """How much of it: calls, and seconds that the judge takes for each."""

    calls: int = 64
    seconds: float = 0.1


SMALL = Size(calls=16, seconds=0.01)


def rows(size: Size, repeats: int) -> list[Row]:
    """Eight at a time against one at a time; the floor is what the judge itself takes with eight."""
    if str(ROOT / "tests/support") not in sys.path:
        sys.path.append(str(ROOT / "tests/support"))
    tests = importlib.import_module("judge_server")

    prompts = [f"question {number}" for number in range(size.calls)]
    replies: list[str] = []

    def ask(url: str, at_once: int) -> None:
        judge = Judge(OpenAIClient(url, tests.MODEL, at_once=at_once))
        replies[:] = filter(None, judge.ask(prompts, lambda text: text, "Say more."))
        check_equal(replies, [f"re: {prompt}" for prompt in prompts], "the judge's replies")

    slow = tests.Fault(seconds=size.seconds)
    server = tests.JudgeServer(answer=lambda prompt: f"re: {prompt}", fault=lambda prompt, before: slow)
    with tests.judging(server) as judge:
        ways: dict[str, Callable[[], object]] = {
            "ours": partial(ask, f"{judge.url}/v1", AT_ONCE),
            "reference": partial(ask, f"{judge.url}/v1", 1),
        }
        seconds = interleaved(ways, repeats)
    return [
        Row(
            "judges",
            median_of(seconds["ours"], "s"),
            median_of(seconds["reference"], "s"),
            exactly(-(-size.calls // AT_ONCE) * size.seconds, "s"),
            note=f"{size.calls} calls of {size.seconds:g} s: {AT_ONCE} at a time, reference one at a time",
        )
    ]
