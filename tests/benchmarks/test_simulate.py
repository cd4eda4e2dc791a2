"""Simulated searches: what must hold whatever the policy, and the command that people type."""

import csv
import json
import math
import random
import sys
from dataclasses import replace

import pytest
from repository import ROOT

from swarm.programs.front_doors import guarded


@pytest.fixture(scope="module", autouse=True)
def repository():
    """benchmarks/ is not installed; other tests must not see it."""
    before = list(sys.path)
    sys.path.append(str(ROOT))
    yield
    sys.path[:] = before


def small(**changes):
    from benchmarks.simulation.runs import Setting

    return replace(Setting(experts=4, graphs=3, assignments=3, questions=15, iterations=1), **changes)


def simulated(workers, **changes):
    from benchmarks.simulation.runs import simulate

    return simulate(small(**changes), workers)


def paces(**changes):
    from benchmarks.simulation.pace import Pace

    return Pace(**{"head": 0.0} | changes)


def test_one_worker_takes_the_sum_of_its_work_and_is_never_idle():
    one = simulated(1, pace=paces())
    assert one.makespan == pytest.approx(one.busy) and one.utilisation == pytest.approx(1)
    # with nothing to pay for a batch or an expert, and rows that bring each other nothing, not a second more
    plain = simulated(1, pace=paces(batch=0, swap=0, step=0))
    assert plain.makespan == pytest.approx(plain.bound)


@pytest.mark.parametrize("settings", [{}, {"top_p": 0.8}, {"edges": "bernoulli"}, {"ask_ahead": True}])
def test_bounds_hold_and_workers_change_no_score(settings):
    outcomes = [simulated(workers, search=settings) for workers in (1, 3, 16, 200)]
    for outcome in outcomes:
        assert 0 < outcome.utilisation <= 1
        assert all(step.seconds >= step.bound(outcome.workers) for step in outcome.steps)
        assert outcome.scores == outcomes[0].scores
        assert [(step.asked, step.shared) for step in outcome.steps] == [
            (step.asked, step.shared) for step in outcomes[0].steps
        ]
        assert sum(step.tally.rows for step in outcome.steps) == sum(step.asked - step.shared for step in outcome.steps)
        assert [step.tally.least for step in outcome.steps] == pytest.approx(
            [step.tally.least for step in outcomes[0].steps]
        )
    assert outcomes[1].makespan < outcomes[0].makespan


def test_asking_ahead_asks_nothing_else_and_waits_less():
    settings = {"questions": 40, "iterations": 2}
    plain, ahead = (simulated(16, search={"ask_ahead": on}, **settings) for on in (False, True))
    assert ahead.scores == plain.scores and ahead.makespan < plain.makespan
    assert sum(step.tally.rows for step in ahead.steps) == sum(step.tally.rows for step in plain.steps)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others():
    faults = _faults(100, 0.05)
    assert simulated(5, faults=faults) == simulated(5, faults=faults)
    assert simulated(5, faults=faults) != simulated(5, faults=faults, seed=1)


def _faults(between_losses, hangs=0.0):
    from benchmarks.simulation.transport import Faults

    return Faults(between_losses, hangs)


def _limits():
    from swarm.workers.worker_executor import Limits

    return Limits(answer=30.0, tries=50, starts=50)


@pytest.mark.parametrize(("between_losses", "hangs"), [(15.0, 0.0), (math.inf, 0.2), (30.0, 0.1)])
def test_losses_and_hangs_cost_time_and_nothing_else(between_losses, hangs):
    sound, hit = simulated(4), simulated(4, faults=_faults(between_losses, hangs), limits=_limits())
    assert hit.scores == sound.scores
    assert sum(step.tally.losses for step in hit.steps) > 0
    assert hit.makespan > sound.makespan and 0 < hit.utilisation <= 1
    assert [(step.asked, step.shared) for step in hit.steps] == [(step.asked, step.shared) for step in sound.steps]


def test_rows_of_a_batch_leave_and_are_replaced():
    pace = paces(swap=10, batch=1, read=1, step=1, row=1, rows=2)
    # the two longest prompts are read in 5 + 4, then two steps of two rows: 9 + 2 * (1 + 2); the third row is read and
    # has three steps beside the two that the first one has left, and one alone: 3 + 2 * 3 + 2
    shares = pace.answers([(4, 2), (3, 3), (5, 4)], swap=True)
    assert shares == [(11 + 9 + 6, [0]), (26 + 3 + 6, [2]), (35 + 2, [1])]
    assert pace.answers([(4, 2)], swap=False) == [(1 + 4 + 4, [0])]
    assert pace.alone((4, 2)) == 9 and pace.least((4, 2)) == 4 + 2 * 1.5


def test_no_batch_is_faster_than_its_bounds():
    rng = random.Random(0)
    pace = paces(rows=8)
    for _ in range(50):
        rows = [(rng.randint(1, 500), rng.randint(1, 80)) for _ in range(rng.randint(1, 40))]
        shares = pace.answers(rows, swap=False)
        answered = {index: seconds for seconds, indices in shares for index in indices}
        assert sorted(answered) == list(range(len(rows)))
        assert all(answered[index] >= pace.alone(row) - 1e-9 for index, row in enumerate(rows))
        assert shares[-1][0] >= sum(map(pace.least, rows))


def test_lengths_are_as_asked_for_and_follow_from_the_content():
    from worlds import paper_pool

    from benchmarks.simulation.texts import HEADER, Lengths
    from swarm.engines.base import GenerationParams, Request

    lengths, expert = Lengths(answer=40, answer_spread=0.3, most=60), paper_pool(1).experts()[0]
    dataset = lengths.questions(400, seed=3)
    given = [
        lengths.completion(Request(expert, example.question, GenerationParams(60)), seed=3) for example in dataset.dev
    ]
    written = [completion.new_tokens for completion in given]
    assert 37 < sum(written) / len(written) < 42 and max(written) == 60
    read = [completion.prompt_tokens - HEADER for completion in given]
    assert 385 < sum(read) / len(read) < 415
    told = Request(expert, f"{dataset.dev[0].question} {given[1].text}", GenerationParams(60))
    assert lengths.completion(told, 3).prompt_tokens == HEADER + read[0] + written[1]


def run(capsys, *words):
    """Exit code, output and errors of the program, here."""
    from benchmarks.simulation.program import simulate_program

    code = guarded(lambda: simulate_program([str(word) for word in words]))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


SIZES = "--experts 3 --graphs 2 --assignments 2 --questions 5 --iterations 0".split()


def test_the_command_and_its_files(programs, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    files = {name: tmp_path / f"figures.{name}" for name in ("json", "csv", "png")}
    words = [*SIZES, "--workers", 2, 4, "--json", files["json"], "--csv", files["csv"], "--picture", files["png"]]
    done = programs.python("scripts/simulate.py", *words, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "ASSUMED" in done.stdout
    assert run(capsys, *SIZES, "--workers", 2, 4)[1] == done.stdout
    record = json.loads(files["json"].read_text())
    with files["csv"].open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["workers"] for line in record["lines"]] == [2, 4] == [int(line["workers"]) for line in lines]
    for line in record["lines"]:
        speed, workers = line["speed_up"], line["workers"]
        assert line["efficiency"] == pytest.approx(speed / workers)
        # Amdahl's law with this serial fraction gives the speed-up back
        assert 1 / (line["serial_fraction"] + (1 - line["serial_fraction"]) / workers) == pytest.approx(speed)
        assert line["makespan"] == pytest.approx(sum(step["seconds"] for step in record["steps"][str(workers)]))
    assert files["png"].stat().st_size > 5000


def test_a_pace_from_the_benchmarks(tmp_path, capsys):
    rows = [{"row": f"pace: {name}", "ours": {"value": 2000.0}} for name in ("swap", "batch", "read", "step", "row")]
    (tmp_path / "pace.json").write_text(json.dumps({"rows": [*rows, {"row": "scheduler", "ours": {"value": 20.0}}]}))
    code, shown, errors = run(capsys, *SIZES, "--workers", 1, "--pace", tmp_path / "pace.json", "--row", 0.5)
    assert code == 0, errors
    assert "pace, measured (" in shown and "swap 0.002, " in shown
    assert "row 0.5, head 2e-05" in shown and "ASSUMED" not in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", 0], "--workers holds 0; wanted at least 1"),
        (["--experts", 1], "--experts is 1; wanted at least 2"),
        (["--hangs", 1], "--hangs is 1; wanted less than 1"),
        (["--read", "nan"], "--read is nan"),
        (["--pace", "nowhere.json"], "nowhere.json cannot be read as figures"),
    ],
)
def test_what_cannot_be_simulated_is_one_line(words, said, capsys):
    code, shown, errors = run(capsys, *SIZES, *words)
    assert code == 2 and said in errors and errors.count("\n") == 1 and not shown


def test_the_fit_finds_the_parts_of_batches():
    from benchmarks.pace import PARTS, fitted

    rng, parts = random.Random(0), {"batch": 0.05, "read": 1e-4, "step": 0.02, "row": 3e-4}
    batches = [[1, rng.randint(10, 9000), rng.randint(1, 80), rng.randint(80, 900)] for _ in range(40)]
    seconds = [sum(count * parts[name] for count, name in zip(batch, PARTS, strict=True)) for batch in batches]
    assert fitted(batches, seconds) == pytest.approx(parts)
    without = [each - 0.06 for each in seconds]  # less than nothing for a batch
    found = fitted(batches, without)
    assert found["batch"] == 0 and min(found.values()) >= 0
