"""Workers that are lost, hang or run out of memory cost time and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_transport import ScriptedTransport
from worlds import PARAMS, chaotic, paper_pool

from swarm.engines.metered import Budget, Metered
from swarm.engines.scripted import ScriptedEngine
from swarm.errors import BudgetReached, UserError
from swarm.maths.decode import DecodeRule, decode
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler
from swarm.system.system import System, single
from swarm.workers.health import Health
from swarm.workers.transport import Answered, Failed, Lost, Report
from swarm.workers.worker_executor import Limits, WorkerExecutor

EXPERTS = tuple(paper_pool(4).experts())
QUERIES = [Query(f"q{number}") for number in range(12)]


def tasks(seed=0, count=4):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        graph = decode(rng.uniform(size=(4, 4)) * (1 - np.eye(4)), rng=rng, rule=DecodeRule())
        yield System(graph, tuple(rng.integers(0, 4, size=4).tolist()), EXPERTS), QUERIES


def engine():
    return ScriptedEngine(chaotic)


ALONE = Scheduler(engine()).answer_all(list(tasks()), PARAMS)


def executor_with(limits=None, **fates):
    transport = ScriptedTransport(engine(), **fates)
    return transport, WorkerExecutor(transport, limits or Limits())


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 7), st.sampled_from([0.0, 0.1, 0.3]))
def test_the_answers_are_those_of_one_engine_whatever_happens(seed, workers, bad):
    rng = np.random.default_rng(seed)

    def fate(worker, requests):
        return str(rng.choice(["lost", "half", "silent", "memory"])) if rng.random() < bad else None

    transport, executor = executor_with(
        Limits(tries=1000, starts=1000), workers=workers, fate=fate, seconds=lambda worker, asked: rng.uniform(0.1, 5)
    )
    scheduler = Scheduler(Metered(executor))
    assert scheduler.answer_all(list(tasks()), PARAMS) == ALONE
    assert scheduler.answer_all(list(tasks()), PARAMS) == ALONE, "the executor can be asked again"
    # nothing is asked twice but what a lost worker has left behind
    if bad == 0:
        asked = [(one.member.digest, one.prompt) for _, _, requests in transport.sent for one in requests]
        assert len(asked) == len(set(asked))


def test_all_workers_have_something_to_do():
    transport, executor = executor_with(workers=3)
    Scheduler(executor).answer_all([(single(EXPERTS[0]), [Query(f"q{number}") for number in range(60)])], PARAMS)
    assert [worker for worker, _, _ in transport.sent[:3]] == [0, 1, 2]
    assert sum(len(requests) for _, _, requests in transport.sent) == 60
    assert all(each.requests >= 10 and each.idle_share(transport.clock) < 0.7 for each in executor.health)


def test_a_batch_goes_elsewhere_and_only_what_is_left_of_it():
    losses = iter(["half"])
    transport, executor = executor_with(workers=2, fate=lambda worker, requests: next(losses, None))
    given = Scheduler(executor).answer_all([(single(EXPERTS[0]), QUERIES[:8])], PARAMS)
    assert given == Scheduler(engine()).answer_all([(single(EXPERTS[0]), QUERIES[:8])], PARAMS)
    (first, _, all_of_it), (second, _, rest) = transport.sent
    assert (first, second) == (0, 1) and [r.prompt for r in rest] == [r.prompt for r in all_of_it[4:]]
    assert transport.starts == [2, 1]


@pytest.mark.parametrize(("fate", "reason"), [("silent", "gave no sign for 50 s"), ("memory", "ran out of memory")])
def test_a_worker_that_hangs_or_has_no_memory_is_replaced(fate, reason, caplog):
    fates = iter([fate])
    transport, executor = executor_with(Limits(answer=50), workers=1, fate=lambda worker, requests: next(fates, None))
    Scheduler(executor).answer_all([(single(EXPERTS[0]), QUERIES)], PARAMS)
    assert transport.stopped == [0] and transport.starts == [2]
    assert executor.health[0].losses == [reason] and reason in caplog.text and "12 prompts for expert_0" in caplog.text


def test_a_batch_that_only_takes_long_is_told_how_to_get_more_time():
    _, executor = executor_with(Limits(answer=50), workers=3, fate=lambda worker, requests: "silent")
    with pytest.raises(UserError, match="worker 1 gave no sign for 50 s.*or a longer --worker_timeout, then --resume"):
        Scheduler(executor).answer_all([(single(EXPERTS[0]), QUERIES[:8])], PARAMS)


def test_a_batch_that_ends_every_worker_is_named_and_ends_the_step():
    _, executor = executor_with(workers=3, fate=lambda worker, requests: "lost")
    with pytest.raises(UserError, match="8 prompts for expert_0 have ended 3 workers .worker 0 was killed; worker 1"):
        Scheduler(executor).answer_all([(single(EXPERTS[0]), QUERIES[:8])], PARAMS)


def test_a_worker_that_never_comes_back_is_given_up_and_the_others_go_on():
    broken = iter(["lost"])
    transport, executor = executor_with(
        workers=2,
        fate=lambda worker, requests: next(broken, None),
        start=lambda worker, count: Lost(worker, "has no device") if worker == 0 and count > 1 else None,
    )
    scheduler = Scheduler(executor)
    assert scheduler.answer_all(list(tasks()), PARAMS) == ALONE
    scheduler.cache.next_step()
    scheduler.cache.next_step()
    scheduler.answer_all(list(tasks(1)), PARAMS)
    assert transport.starts == [3, 1]


@pytest.mark.parametrize("message", ["it lacks model base: put it there", "Traceback\nRuntimeError: no device"])
def test_a_worker_that_cannot_be_replaced_is_given_up_and_the_others_go_on(message, caplog):
    broken = iter(["lost"])
    transport, executor = executor_with(
        workers=2,
        fate=lambda worker, requests: next(broken, None),
        start=lambda worker, count: Failed(worker, message, cure="\n" not in message) if count > 1 else None,
    )
    scheduler = Scheduler(executor)
    for _ in range(2):
        assert scheduler.answer_all(list(tasks()), PARAMS) == ALONE
        scheduler.cache.next_step()
        scheduler.cache.next_step()
    assert transport.starts == [3, 1] and "worker 0 is given up" in caplog.text
    assert f"it could not be replaced: {message.splitlines()[-1]}" in caplog.text


def test_a_worker_that_is_lost_between_two_steps_is_no_batchs_fault():
    transport, executor = executor_with(Limits(tries=1), workers=1)
    transport._later(0.0, Lost(0, "was killed"))
    Scheduler(executor).answer_all([(single(EXPERTS[0]), QUERIES[:8])], PARAMS)
    assert transport.starts == [2] and len(transport.sent) == 1


def test_a_machine_that_left_while_all_its_workers_were_idle_is_not_the_batchs_fault():
    gone = {0, 1, 2, 3}  # which nobody has noticed
    transport, executor = executor_with(
        workers=5, fate=lambda worker, requests: Lost(worker, "was on it", True) if worker in gone else None,
        start=lambda worker, count: "silent" if count > 1 else None,
    )  # fmt: skip
    given = Scheduler(executor).answer_all([(single(EXPERTS[0]), QUERIES[:8])], PARAMS)
    assert given == Scheduler(engine()).answer_all([(single(EXPERTS[0]), QUERIES[:8])], PARAMS)
    assert [worker for worker, _, _ in transport.sent] == [0, 1, 2, 3, 4]


def test_a_machine_that_leaves_again_and_again_ends_the_step():
    transport, executor = executor_with(workers=2, fate=lambda worker, requests: Lost(worker, "was on it", True))
    with pytest.raises(UserError, match="no worker is left .the last one was on it"):
        Scheduler(executor).answer_all([(single(EXPERTS[0]), QUERIES[:8])], PARAMS)
    assert transport.starts == [3, 3]


def test_what_comes_together_with_a_loss_is_of_before():
    """A worker that has no memory says so, and ends by itself before anybody listens: it is lost once."""
    fates = iter(["memory"])
    transport, executor = executor_with(workers=1, fate=lambda worker, requests: next(fates, None))
    one_by_one = transport.events

    def events(seconds):
        found = one_by_one(seconds)
        return found + [Lost(each.worker, "has ended") for each in found if isinstance(each, Failed)]

    transport.events = events
    Scheduler(executor).answer_all([(single(EXPERTS[0]), QUERIES[:8])], PARAMS)
    assert transport.starts == [2] and executor.health[0].losses == ["ran out of memory"]


def test_the_most_memory_that_a_worker_held_is_kept():
    health = Health()
    health.started("here", 0.0)
    for memory in (5, 9, 2):
        health.answered(Answered(0, 1, [], True, Report(seconds=memory, memory=memory)))
    assert health.memory == 9 and health.seconds == 2


def test_nobody_is_left():
    with pytest.raises(UserError, match="no worker is left .the last one has no device"):
        executor_with(workers=2, start=lambda worker, count: Lost(worker, "has no device"))


def test_a_worker_that_does_not_start_in_time():
    transport = ScriptedTransport(engine(), start=lambda worker, count: "silent")
    with pytest.raises(UserError, match="no worker is left .the last one gave no sign for 30 s"):
        WorkerExecutor(transport, Limits(start=30))
    assert transport.closed


def test_what_an_engine_raises_reaches_the_caller():
    _, executor = executor_with(fate=lambda worker, requests: Failed(worker, "a prompt is too long", cure=True))
    with pytest.raises(UserError, match="^a prompt is too long$"):
        Scheduler(executor).answer_all([(single(EXPERTS[0]), QUERIES)], PARAMS)
    _, executor = executor_with(fate=lambda worker, requests: Failed(worker, "Traceback ... ValueError"))
    with pytest.raises(RuntimeError, match=r"worker 0 .place 0. failed: Traceback ... ValueError"):
        Scheduler(executor).answer_all([(single(EXPERTS[0]), QUERIES)], PARAMS)


def test_what_an_engine_raises_about_a_batch_that_nobody_waits_for(caplog):
    """One batch ends the step; what the other worker says of its own, later, is not the next step's fault."""
    fates = iter([Failed(0, "a prompt is too long", cure=True), Failed(1, "the other is too long", cure=True)])
    _, executor = executor_with(
        fate=lambda worker, requests: next(fates, None), seconds=lambda worker, asked: 1.0 + worker
    )
    with pytest.raises(UserError, match="a prompt is too long"):
        Scheduler(executor).answer_all([(single(EXPERTS[0]), [Query(f"q{number}") for number in range(24)])], PARAMS)
    assert Scheduler(executor).answer_all(list(tasks()), PARAMS) == ALONE
    assert not any(each.losses for each in executor.health)


def test_workers_whose_answers_could_differ_are_refused():
    transport = ScriptedTransport(engine(), facts=lambda worker: {"torch": f"2.{worker}"})
    with pytest.raises(UserError, match=r"worker 1 .place 1. has torch '2.1', another one '2.0'"):
        WorkerExecutor(transport)
    assert transport.closed


def test_a_budget_stops_a_step_and_the_next_one_goes_on_with_the_same_workers():
    _, executor = executor_with(workers=2)
    meter = Metered(executor, budget=Budget(generations=5))
    scheduler = Scheduler(meter)
    with pytest.raises(BudgetReached):
        scheduler.answer_all(list(tasks()), PARAMS)
    meter.budget = None
    assert scheduler.answer_all(list(tasks()), PARAMS) == ALONE


def test_a_slow_worker_is_named_once(caplog):
    _, executor = executor_with(workers=3, seconds=lambda worker, asked: len(asked) * (5.0 if worker == 1 else 1.0))
    for _ in range(6):
        Scheduler(executor).answer_all(list(tasks()), PARAMS)
    assert caplog.text.count("worker 1 (place 1) is slow") == caplog.text.count("is slow") == 1
