"""What docs and scripts show of the program runs, on tiny models where it names some."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from deepen_world import QUESTIONS, save_models, write_records
from repository import ROOT

from swarm.programs.deepen.deepen import STEPS, deepen_program, step_parser
from swarm.programs.front_doors import guarded

DOCS = (ROOT / "docs" / "fusion.md").read_text(encoding="utf8")
COMMAND = re.compile(r"^    (?:python scripts/deepen\.py|h-swarm deepen) (.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A folder with the config that is shown and all that it names."""
    folder = tmp_path_factory.mktemp("place")
    save_models(folder / "models")
    alone = DOCS.split("## DeePEn on its own")[1]
    (folder / "conf.json").write_text(re.search(r"```json\n(.*?)```", alone, re.DOTALL)[1])
    for name in ("dev", "test", "demos"):
        records = QUESTIONS[:2] if name != "demos" else [{"question": "a dog", "answer": "barks"}]
        write_records(folder / "data" / "nq" / f"{name}.jsonl", records)
    return folder


def test_the_commands_run_one_after_the_other(workdir, monkeypatch, capsys):
    monkeypatch.chdir(workdir)
    commands = COMMAND.findall(DOCS)
    assert {shlex.split(command)[0] for command in commands} == set(STEPS)
    for command in commands:
        assert guarded(lambda: deepen_program(shlex.split(command, comments=True))) == 0, command  # noqa: B023
    assert f"artefact: {Path('matrices/one_two/one_two')}" in capsys.readouterr().out
    assert json.loads(Path("sweep/sweep.json").read_text())["task"] == "nq"
    assert {path.name for path in Path("sweep").glob("*.png")} == {
        "sweep_learning_rate.png",
        "sweep_updates.png",
        "sweep_losses.png",
    }
    shutil.rmtree("res")


def test_commands_elsewhere_have_options_that_there_are():
    texts = [(ROOT / name).read_text(encoding="utf8") for name in ("docs/own_experts.md", "scripts/deepen.py")]
    commands = [command for text in texts for command in COMMAND.findall(text)]
    assert len(commands) >= len(STEPS)
    for command in commands:
        step, *words = shlex.split(command, comments=True)
        step_parser(step).parse_args(words)


def test_options_that_the_text_names_are_there():
    named = set(re.findall(r"`(--?[a-z_]+)", DOCS.split("## DeePEn on its own")[1]))
    known = {flag for step in STEPS for action in step_parser(step)._actions for flag in action.option_strings}
    assert {"-em", "--anchor_counts", "--bridge"} <= named <= known | {"-d"}
