"""What a run has to say, to be compared with that of another one."""

import json
import time
from contextlib import suppress

import psutil


def story(run):
    """State, result and metrics, but times, and what several workers say of themselves."""
    state, result = (json.loads((run / name).read_text()) for name in ("state.json", "result.json"))
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in (*metrics, state["usage"], result["usage"]):
        record.pop("usage_seconds", record.pop("seconds", None))
    for record in (*metrics, result):
        record.pop("workers", None)
    # another batch, another rounding of what was left out of account
    for fusion in result["fusions"].values():
        fusion["dropped"] = round(fusion["dropped"], 5)
    return state, result, metrics


COUNTS = ("usage", "from_disk", "shared", "fusions", "usage_generations", "usage_prompt_tokens", "usage_new_tokens")


def without_counts(told):
    """A story of an interrupted run: what was asked when it was interrupted is asked again, or known."""
    state, result, metrics = told
    return [
        {name: value for name, value in record.items() if name not in COUNTS} for record in (state, result, *metrics)
    ]


def steps_written(run):
    """Lines of metrics.jsonl so far."""
    return (run / "metrics.jsonl").read_text().count("\n") if (run / "metrics.jsonl").exists() else 0


def wait_for(happened, seconds=240):
    """Until it is so; fails after a while, a machine being as busy as it likes."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def alive(numbers):
    """Which of these processes are there, zombies not counted."""
    found = []
    for number in numbers:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
                found.append(number)
    return found
