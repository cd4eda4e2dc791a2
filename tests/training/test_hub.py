"""Sources that are sets of the hub: the real libraries against a small hub on the loopback interface."""

import io
import json
import os
import subprocess
import sys

import pyarrow
import pyarrow.parquet
from loopback_hub import Hub, serving

PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from swarm.errors import UserError
from swarm.training.recipe import read_training_recipe
from swarm.training.samples import read_samples
[expert] = read_training_recipe(Path(sys.argv[1])).experts
for source in expert.data:
    try:
        read = read_samples("here", source, np.random.default_rng(0))
        print(json.dumps([sample.messages for sample in read.samples]))
    except UserError as error:
        print(json.dumps(str(error)))
"""


def test_sets_of_the_hub(tmp_path):
    table = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"ask": "a", "say": "b"}] * 3), table)
    mixed = [{"instruction": "", "input": "one", "output": "two", "candidates": [{"scores": {}}]},
             {"instruction": "x", "input": "", "output": "y", "candidates": [{"text": 3}]}]  # fmt: skip
    repositories = {
        "datasets/me/pairs": {"README.md": b"", "data/train-00000-of-00001.parquet": table.getvalue()},
        "datasets/llm-blender/mix-instruct": {"train_data_prepared.jsonl": "\n".join(map(json.dumps, mixed)).encode()},
    }
    columns = {"prompt": "ask", "completion": "say"}
    data = [
        {"source": "me/pairs", "columns": columns, "limit": 2},
        "llm-blender/mix-instruct",
        {"source": "me/pairs", "columns": columns, "split": "test"},
        {"source": "me/pairs"},
        {"source": "me/nobody"},
        {"source": "llm-blender/mix-instruct", "split": "dev"},
    ]
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"experts": [{"name": "a", "base": "b", "data": data}]}))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    with serving(Hub(repositories)) as hub:
        kept |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-c", PROGRAM, str(recipe)]
        kept["no_proxy"] = "127.0.0.1"
        done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pairs, mix, split, unmapped, nobody, no_dev = map(json.loads, done.stdout.splitlines())
    assert pairs == [[["user", "a"], ["assistant", "b"]]] * 2
    assert mix == [[["user", "one"], ["assistant", "two"]], [["user", "x"], ["assistant", "y"]]]
    assert split == "here: me/pairs has no split test, only train: name one"
    assert unmapped.startswith("me/pairs: train row 0 has the columns ask, say, wanted messages; or prompt")
    assert "the hub shows no such set" in nobody
    assert "has no split dev, only train, validation, test" in no_dev
