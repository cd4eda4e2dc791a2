"""Options that change nothing are named in one line, and those that contradict each other are refused."""

import pytest
from deepen_world import CHOICES, deepen, write_world

from swarm.programs.deepen import matrix, picture, run, sweep


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch):
    """All is said before a model is loaded."""

    def stop(*_):
        raise SystemExit(0)

    for module, name in ((run, "load_fusion_models"), (sweep, "load_fusion_models")):
        monkeypatch.setattr(module, name, stop)
    for module in (matrix, picture):
        monkeypatch.setattr(module, "load_lexicons", stop)


@pytest.fixture
def said(conf, capsys):
    """The warnings of a step with these words."""

    def words(step, *given, config=conf):
        folder = ("-rsd", conf.parent / "res") if step == "run" else ("--out", conf.parent / "out.png")
        with pytest.raises(SystemExit):
            deepen(step, *(("--config", config) if config else ()), *folder, *given)
        return [line for line in capsys.readouterr().err.splitlines() if "without effect" in line]

    return words


@pytest.mark.parametrize(
    ("words", "unused"),
    [
        ("-lr 0.15", ""),
        ("-lr 0.15 --gate 0.9 --on_failure drop --eos shared -ew 3 1 -em tas -dp cpu -d1 cpu --dropped 0.01", ""),
        ("-lr 0.15 --top 5 --temperature 2", "s perplexity); --top (space is relative)"),
        ("-lr 0.15 --anchor_seed 3", "--anchor_seed (anchors are all, not random)"),
        ("-lr 0.15 --anchors random --anchor_count 9 --anchor_seed 3 --weigh perplexity --temperature 2", ""),
        ("-lr 0.15 --consistency rbf -ew 3 1", "-ew (consistency weighs members anew at every token)"),
        ("-lr 0.15 --consistency rbf --weigh perplexity", "--weigh (consistency weighs members anew at every token)"),
        ("-lr 0.15 -em tas+mas -ew 3 1", "-ew (mode is tas+mas, which works the members' weights out itself)"),
        ("-lr 0.15 --candidates all --most 99", "--most (candidates are all)"),
        ("-lr 0.15 --inverse em", "-lr (inverse is em)"),
        ("-lr 0.15 -d0 cpu -d2 cpu", "-d2 (the config has 2 models)"),
        ("--space union --top 5 --keys published", ""),
        ("--space union -lr 0.15 -len 3 --rows lazy --centre --anchors random --anchor_count 9 --artefact here",
         "--anchors, --anchor_count, --rows, --centre, -lr, -len, --artefact (space is union)"),
        ("--space mapped --top 5 --row_memory 1 --no_normalise", "--top, --row_memory, --no_normalise (space is m"),
        ("--inverse none -lr 0.15 --dropped 0.1 --centre", "--dropped, --centre, -lr (inverse is none)"),
        ("-ew 3 1 -em tas -dp cpu -d1 cpu --gate 0.9 --keys bytes -len 3 --artefact here",
         "--keys, --gate, -len, -dp, -d1, -ew, -em, --artefact (the main model answers alone)"),
        ("-len 0 -lr 0.15 --weigh perplexity", "-lr, --weigh (the main model answers alone)"),
    ],
)  # fmt: skip
def test_of_a_run(said, words, unused):
    lines = said("run", *words.split())
    assert len(lines) == bool(unused) and all(unused in line for line in lines), lines


def test_where_options_are_chosen_between(tmp_path, models, said):
    conf = write_world(tmp_path / "choices", models, records=CHOICES, demos=[])
    words = "-lr 0.15 -lpm choice --gate 0.9 --eos shared --bridge legacy --on_failure drop --dropped 0.001"
    [line] = said("run", *words.split(), config=conf)
    assert line.endswith("--gate, --bridge, --eos (-lpm choice writes one option)")
    [line] = said("run", *"-lpm choice --space union --top 4".split(), config=conf)
    assert line.endswith("--top (-lpm choice writes one option)")


def test_of_a_sweep(conf, said, capsys):
    assert said("sweep", *"-lr 0 0.15 --anchor_counts 9 all --anchor_seed 3 -len 1 5".split()) == []
    [line] = said("sweep", *"-lr 0 0.15 --anchor_seed 3 --top 4 -d5 cpu --gate 0.5".split())
    assert "--anchor_seed (anchors are all, not random); --top (space is relative); -d5 (the config has 2 mod" in line
    [line] = said("sweep", *"-lr 0.15 --space union".split())
    assert line.endswith("-lr (space is union)")
    for words, why in (
        ("-lr 0.1 0.2 --inverse em", "-lr 0.1 0.2 makes no difference: inverse is em; leave it out"),
        ("-len 1 2 --space union", "-len 1 2 makes no difference: space is union; leave it out"),
        ("--anchor_counts 9 all --space mapped", "--anchor_counts 9 all makes no difference: space is mapped"),
        ("-lr 0.1 --anchors random", "--anchors random has no effect on all common tokens; give numbers with --anch"),
        ("-lr 0.1 --anchors all --anchor_counts 9", "--anchors all and --anchor_counts 9 contradict each other"),
    ):
        assert deepen("sweep", "--config", conf, "--out", conf.parent / "out", *words.split()) == 2
        assert why in capsys.readouterr().err


def test_of_a_matrix_and_a_picture(said):
    [line] = said("matrix", "--anchor_seed", "3")
    assert line.endswith("without effect here: --anchor_seed (anchors are all, not random)")
    assert said("matrix", "--anchors", "random", "--anchor_count", "9", "--anchor_seed", "3") == []
    tokens = ("--tokens", " the", " cat", "--no_normalise")
    [line] = said("picture", *tokens)
    assert "without effect here: --no_normalise (cosines are drawn" in line
    assert said("picture", *tokens, "--rows") == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--space union -em tas", "mode is 'tas', which has no effect where space is union; leave one out"),
        ("--space mapped --inverse em", "inverse is 'em', which has no effect where space is mapped"),
        ("--space mapped --consistency rbf", "consistency is 'rbf', which has no effect where space is mapped"),
        ("--inverse none -em tas", "mode is 'tas', which has no effect where inverse is none"),
    ],
)
def test_two_ways_at_once_are_refused(conf, capsys, words, why):
    for step in ("run", "sweep"):
        assert deepen(step, "--config", conf, *words.split()) == 2
        assert f"the command line: {why}" in capsys.readouterr().err
