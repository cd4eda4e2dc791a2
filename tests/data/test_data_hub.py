"""Guards data sets of the hub: the real library against a small hub of our own on the loopback interface."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from loopback_hub import COMMIT, Hub, serving

PROGRAM = """
import json, sys
from dataclasses import asdict
from swarm.errors import UserError
from swarm.data.load import load_dataset
from swarm.data.source import Source
for options in json.loads(sys.argv[1]):
    try:
        print(json.dumps(asdict(load_dataset(Source(**options)))))
    except UserError as error:
        print(json.dumps(str(error)))
"""
SPLITS = {"dev": "validation"}
ROWS = [{"sum": f"{k} + 1?", "answer": k + 1} for k in range(4)]


def parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub with a set of two splits, one of two configurations, a script, and a gated one."""
    card = "configs:\n" + "".join(
        f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}.jsonl\n" for name in ("easy", "hard")
    )
    lines = "\n".join(json.dumps(row) for row in ROWS).encode()
    repositories = {
        "datasets/me/sums": {
            "README.md": b"",
            "data/validation-00000-of-00001.parquet": parquet(ROWS[:1]),
            "data/test-00000-of-00001.parquet": parquet(ROWS[1:]),
        },
        "datasets/me/two": {"README.md": f"---\n{card}---\n".encode(), "easy.jsonl": lines, "hard.jsonl": lines},
        "datasets/me/script": {"README.md": b"", "script.py": b"raise SystemExit('run')"},
        "datasets/me/gated": {"README.md": b""},
    }
    with serving(Hub(repositories, gated={"datasets/me/gated"})) as hub:
        yield hub


def load(
    hub_url: str, home: Path, *sources: dict[str, Any], program: str = PROGRAM, **environment: str
) -> tuple[list[Any], str]:
    """What each source becomes in a process with caches of its own: a dataset as JSON, or the message; and stderr."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    kept |= {"HF_ENDPOINT": hub_url, "HF_HOME": str(home / "home"), "HF_HUB_DISABLE_XET": "1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(sources)],
        env=kept | environment, cwd=home, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


SOURCE = {"dataset": "me/sums", "columns": {"question": "sum"}, "splits": SPLITS}
REFUSED = [
    ({"dataset": "me/sums"}, 'me/sums: no split "dev", only validation, test; say --splits dev=validation,test=test'),
    ({"dataset": "me/sums", "splits": SPLITS}, 'me/sums: validation row 0: no field "question", only "sum", "answ'),
    ({"dataset": "me/two"}, "me/two: the configuration cannot be chosen ("),
    ({"dataset": "me/two", "hub_config": "medium"}, "me/two: the configuration cannot be chosen ("),
    (
        {"dataset": "me/two", "hub_config": "easy", "splits": {"dev": "train", "test": "train"}},
        "me/two: train: one table of 4 rows, wanted dev and test; ",
    ),
    ({"dataset": "me/script"}, "me/script: the set comes with a script, and code of a data set is never run; "),
    ({"dataset": "me/gated"}, "me/gated: the set is gated; accept its terms on its page of the hub, then `hf auth log"),
    ({"dataset": "me/nobody"}, "me/nobody: no folder or file here, and the hub shows no such set or revision to you; "),
]


def test_a_set_is_read_from_the_hub_and_then_without_it(hub: Hub, tmp_path: Path) -> None:
    (dataset, *refused), heard = load(hub.url, tmp_path, SOURCE, *(source for source, _ in REFUSED))
    assert (dataset["name"], len(dataset["dev"]), len(dataset["test"])) == ("sums", 1, 3)
    assert (dataset["test"][0]["question"], dataset["test"][0]["answer"]) == ("1 + 1?", "2")
    assert "examples/s" not in heard, "bars are for terminals"
    for message, (_, beginning) in zip(refused, REFUSED, strict=True):
        assert message.startswith(beginning) and "\n" not in message, message
    assert all("'easy', 'hard'" in message and "--hub_config" in message for message in refused[2:4])

    asked = hub.asked
    offline = [SOURCE, SOURCE | {"revision": COMMIT}, SOURCE | {"revision": "v2"}, {"dataset": "me/new"}]
    (cached, revised, branch, unknown), _ = load(hub.url, tmp_path, *offline, HF_HUB_OFFLINE="1")
    assert cached == revised == dataset and hub.asked == asked
    assert branch.startswith("me/sums: revision v2 cannot be asked for") and f"--data_revision {COMMIT}" in branch
    assert unknown.startswith("me/new: no folder or file here, the hub cannot be reached, and the cache does not hold")
    assert "HF_HUB_OFFLINE" in unknown and "\n" not in unknown


def test_a_hub_that_is_not_there_is_no_traceback(tmp_path: Path) -> None:
    """The client asks five times, with pauses that this process does not wait for."""
    hasty = f"import time\ntime.sleep = lambda seconds: None\n{PROGRAM}"
    [message], _ = load("http://127.0.0.1:9", tmp_path, {"dataset": "me/sums"}, program=hasty)
    assert "hub cannot be reached" in message and "allow the network" in message and "\n" not in message
