"""A run's folder: names, lock, whole files, what a resume accepts."""

import json
import textwrap
from dataclasses import replace

import pytest
from worlds import problem

from swarm.engines.metered import Usage
from swarm.errors import UserError
from swarm.evolution.checked_config import make_config
from swarm.evolution.resume import without_used_limits
from swarm.evolution.run_folder import Run, create_run, open_run
from swarm.evolution.state import first_state
from swarm.evolution.steps import STEPS
from swarm.storage.files import write_json, write_whole

TASK = {"eval_type": "exact_match", "dataset": "some/gsm 8k.json"}


def test_names(tmp_path):
    first, second = (create_run(tmp_path / "search", make_config(TASK), {}) for _ in range(2))
    assert first.folder != second.folder
    assert first.folder.name.startswith("gsm_8k_20")
    named = create_run(tmp_path / "search", make_config(TASK | {"name": "mine"}), {})
    assert named.folder.name == "mine"
    assert json.loads((named.folder / "args.json").read_text())["name"] == "mine"
    assert {path.name for path in (tmp_path / "search").iterdir()} == {r.folder.name for r in (first, second, named)}
    with pytest.raises(UserError, match="mine exists; wanted a new name .-n., or go on: .*search.py --resume"):
        create_run(tmp_path / "search", make_config(TASK | {"name": "mine"}), {})


def test_paths_are_kept_so_that_a_run_can_be_resumed_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    given = TASK | {"initial_expert_directory": "mine", "base_model": "hub/id", "data_directory": "nowhere"}
    args = json.loads((create_run(tmp_path, make_config(given), {}).folder / "args.json").read_text())
    assert args["initial_expert_directory"] == str(tmp_path / "mine")
    assert (args["base_model"], args["data_directory"]) == ("hub/id", "nowhere")


def test_code_of_models_runs_only_when_asked_for_again(tmp_path):
    run = create_run(tmp_path, make_config(TASK | {"trust_remote_code": True}), {})
    run.close()
    assert open_run(run.folder, {})[1].trust_remote_code is False
    assert open_run(run.folder, {"trust_remote_code": True})[1].trust_remote_code is True


def test_one_process_at_a_time(tmp_path):
    run = create_run(tmp_path, make_config(TASK | {"name": "mine"}), {})
    with pytest.raises(UserError, match="in use by another process"):
        Run(run.folder)
    run.close()
    Run(run.folder).close()


def test_what_a_resume_accepts(tmp_path):
    with pytest.raises(UserError, match=r"is no run \(args.json missing\)"):
        open_run(tmp_path, {})
    run = create_run(
        tmp_path, make_config(TASK | {"name": "mine", "seed": 4, "max_generations": 5, "optimizer": "swarm"}), {}
    )
    run.close()
    opened, config = open_run(run.folder, {"max_time": 9.0})
    assert (config.seed, config.max_generations, config.max_time) == (4, 5, 9.0)
    worked = replace(first_state(0), usage=Usage(generations=5, seconds=20.0))
    assert without_used_limits(config, {"max_time": 9.0}, first_state(0)) == config
    after = without_used_limits(config, {"max_time": 9.0}, worked)
    assert (after.max_generations, after.max_time) == (None, 9.0), "used up and not given again; given again"
    opened.close()
    with pytest.raises(UserError, match="--seed cannot change when a run is resumed"):
        open_run(run.folder, {"seed": 5})
    (run.folder / "args.json").write_text("{")
    with pytest.raises(UserError, match="args.json cannot be read"):
        open_run(run.folder, {})


@pytest.mark.parametrize(
    ("part", "option"),
    [("experts", "-i"), ("composites", "--composites"), ("base", "-b"), ("dataset", "-d"), ("eval", "-e")],
)
def test_other_content_is_refused(tmp_path, part, option):
    origin = {"experts": "a", "base": "b", "dataset": "c", "eval": "d", "engine": {"dtype": "float32", "torch": "1"}}
    run = create_run(tmp_path, make_config(TASK), origin)
    assert run.check_origin(origin) == []
    changed = origin | {"engine": {"dtype": "bfloat16", "torch": "1"}}
    assert run.check_origin(changed) == ["the engine's dtype differs from the run's beginning: texts may differ"]
    with pytest.raises(UserError, match=f"other content for {part} .*restore it .{option}"):
        run.check_origin(origin | {part: "else"})


def test_the_state_comes_back(tmp_path):
    run = create_run(tmp_path, make_config(TASK), {})
    assert run.load() is None
    state = STEPS["start_role"](problem(), first_state(1))
    run.save(state)
    assert run.load().best.score == state.best.score
    (run.folder / "state.json").write_text('{"format": 0}')
    with pytest.raises(UserError, match="state format is 0, this version reads 1"):
        run.load()


def test_a_full_disk_leaves_the_old_state_whole(programs, tmp_path):
    """A real write that fails in the middle: the process may write 4 kB at most."""
    path = tmp_path / "state.json"
    write_json(path, {"old": 1})
    program = textwrap.dedent(
        """
        import resource, signal, sys
        from pathlib import Path
        from swarm.errors import UserError
        from swarm.storage.files import write_whole
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_whole(Path(sys.argv[1]), "x" * 100_000)
        except UserError as error:
            sys.exit(str(error))
        """
    )
    result = programs.python("-c", program, path, cwd=tmp_path)
    assert result.returncode == 1
    assert "state.json cannot be written (File too large); what was there is untouched" in result.stderr
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_numbers_that_json_lacks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"score": float("nan")})
    write_whole(tmp_path / "b", "text")
    assert (tmp_path / "b").read_text() == "text"


def test_metrics_of_a_step_that_was_not_kept_are_dropped(tmp_path):
    run = create_run(tmp_path, make_config(TASK), {})
    for step in (1, 2, 3):
        run.write_metrics(step, {"title": "x"})
    path = run.folder / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 4, "tit')
    run.forget_metrics_after(2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


def test_published_keys(tmp_path):
    state = first_state(0)
    world = problem(max_iteration=1)
    while state.next_step != "final":
        state = STEPS[state.next_step](world, state)
    run = create_run(tmp_path, world.config, {})
    run.write_scratchpad(state)
    run.close()
    record = json.loads((run.folder / "utility_scratchpad.json").read_text())
    expected = {"all_time_best_dev"}
    for kind, count in (("model", 4), ("graph", 3)):
        expected |= {f"{kind}_g", f"{kind}_g_worst", f"{kind}_g_history"}
        expected |= {f"{kind}_{i}_{what}" for i in range(count) for what in ("now", "best", "history")}
    assert set(record) == expected
    assert len(record["graph_0_history"]) == 2
