"""Recipes for the embedded base, and the program that trains them."""

import json

import numpy as np
from repository import ROOT

from swarm.programs.finetune import finetune_program
from swarm.programs.front_doors import guarded
from swarm.training.recipe import DataSource
from swarm.training.samples import read_samples

BASE, SECOND = ROOT / "data" / "embedded" / "base", ROOT / "data" / "embedded" / "second"
QUESTIONS = ROOT / "data" / "eval" / "graph_tasks_small.json"
FAST = {"learning_rate": 3e-3, "batch_size": 16, "steps": 24, "checkpoint_every": 5}  # 8 steps are an epoch


def recipe(folder, *experts, **defaults):
    """A recipe file; what is not said is fast, the embedded base, and questions about edges."""
    usual = FAST | {"base": str(BASE), "data": [str(QUESTIONS)]}
    content = {"out": str(folder / "out"), "defaults": usual | defaults, "experts": list(experts) or [{"name": "one"}]}
    path = folder / "recipe.json"
    path.write_text(json.dumps(content))
    return path


def finetune(*words):
    """The program's exit code."""
    return guarded(lambda: finetune_program([str(word) for word in words]))


def weights(folder):
    """The bytes of an expert's tensors."""
    return (folder / "adapter_model.safetensors").read_bytes()


def lines(path, *rows):
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def source(path, **settings):
    """A source of a recipe with the usual settings."""
    nothing = dict.fromkeys(("split", "limit", "template", "separator", "config", "revision"))
    return DataSource(str(path), **nothing | {"share": 1.0, "columns": {}, "skip_empty": False} | settings)


def read(path, seed=0, **settings):
    """The samples of a file."""
    return read_samples("here", source(path, **settings), np.random.default_rng(seed))
