"""A model's folder that has changed in place between two sittings: its answers would mix with those that are there."""

import json
import shutil

import pytest
from deepen_world import deepen, write_world
from safetensors.torch import load_file, save_file

from swarm.programs.deepen import run, sweep
from swarm.programs.deepen.result_file import read_results, result_name


@pytest.fixture
def own(tmp_path, models):
    """Models that may be changed, and a config that names them."""
    for name in ("one", "two"):
        shutil.copytree(models / name, tmp_path / "models" / name)
    return write_world(tmp_path, tmp_path / "models")


def other_weights(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"] += 0.01
    save_file(tensors, path, {"format": "pt"})


def other_tokenizer(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text() + "\n")


@pytest.mark.parametrize(("name", "change"), [("one", other_weights), ("two", other_weights), ("two", other_tokenizer)])
def test_a_run_is_not_gone_on_with(own, capsys, monkeypatch, name, change):
    words = ("run", "--config", own, "-lr", "0.5", "-rsd", own.parent / "res")
    assert deepen(*words, "--limit", "2") == 0
    path = own.parent / "res" / result_name(0.5, 5)
    before, folder = path.read_bytes(), own.parent / "models" / name
    shutil.copytree(folder, own.parent / "kept")
    change(folder)
    with monkeypatch.context() as patched:
        patched.setattr(run, "load_fusion_models", lambda *_: pytest.fail("a model is loaded"))
        capsys.readouterr()
        assert deepen(*words) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and f"model {folder} has changed since the first answers of {path}" in error
        assert "name another folder with -rsd, or delete the file" in error and path.read_bytes() == before
        assert deepen(*words, "--limit", "2") == 0, "nothing is left to be answered with it"
    shutil.rmtree(folder)
    shutil.copytree(own.parent / "kept", folder)
    assert deepen(*words) == 0 and len(read_results(path)) == 5, "the same content again"


def test_a_file_without_the_models_digests_is_gone_on_with(own, capsys):
    words = ("run", "--config", own, "-lr", "0.5", "-rsd", own.parent / "res")
    assert deepen(*words, "--limit", "2") == 0
    path = (own.parent / "res" / result_name(0.5, 5)).with_suffix(".json")
    recipe = json.loads(path.read_text())
    assert len(recipe.pop("contents")) == 2
    path.write_text(json.dumps(recipe))
    capsys.readouterr()
    assert deepen(*words) == 0
    assert "does not say which models its answers are from" in capsys.readouterr().err


def test_a_sweep_is_not_gone_on_with(own, capsys, monkeypatch):
    words = ("sweep", "--config", own, "--limit", "1", "--out", own.parent / "out", "-len", "5", "-lr")
    assert deepen(*words, "0.5") == 0
    other_weights(own.parent / "models" / "two")
    monkeypatch.setattr(sweep, "load_fusion_models", lambda *_: pytest.fail("a model is loaded"))
    capsys.readouterr()
    assert deepen(*words, "0.15", "0.5") == 2
    error = capsys.readouterr().err
    assert "two has changed since the first answers of" in error and "name another folder with --out" in error
    assert deepen(*words, "0.5") == 0, "nothing is left to be worked out"


def test_answers_that_were_made_with_other_memory_for_rows_are_gone_on_with(own, capsys):
    words = ("run", "--config", own, "-lr", "0.5", "-rsd", own.parent / "res")
    assert deepen(*words, "--limit", "2", "--row_memory", "300") == 0
    path = own.parent / "res" / result_name(0.5, 5)
    recipe = json.loads(path.with_suffix(".json").read_text())
    assert "row_memory" not in recipe
    path.with_suffix(".json").write_text(json.dumps(recipe | {"row_memory": 256}))  # as earlier versions wrote it
    capsys.readouterr()
    assert deepen(*words) == 0 and len(read_results(path)) == 5
    assert "warning" not in capsys.readouterr().err
