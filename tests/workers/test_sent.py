"""Whatever kind of member a pool has: what a worker is sent survives being sent, and its engine answers the same."""

import json
from functools import partial
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from tiny import make_models, make_pool

from swarm.engines.base import GenerationParams, Request
from swarm.engines.statistics import Tally, Work, load_summary, total
from swarm.evolution.config import SearchConfig
from swarm.members.members import read_members
from swarm.members.routing.fit import RouterSettings, fit_router
from swarm.members.routing.router_artefact import save_router
from swarm.programs.engine_choice import make_engine
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler
from swarm.system.system import single
from swarm.workers.serving import Server
from swarm.workers.worker_executor import WorkerExecutor

PARAMS = GenerationParams(6)
PROMPTS = [f"what is {one} and {two}" for one in ("red", "blue", "green") for two in ("red", "blue", "one", "two")]


class SentHere:
    """Workers in this process, to whom everything is sent as to another one."""

    def __init__(self, makers):
        self.workers = len(makers)
        self._makers = [ForkingPickler.dumps(make) for make in makers]
        self._servers, self._due, self._clock = {}, [], 0.0

    def start(self, worker):
        self._servers[worker] = Server(worker, ForkingPickler.loads(self._makers[worker]))
        self._due.append(self._servers[worker].ready())

    def send(self, worker, batch, requests):
        received = ForkingPickler.loads(ForkingPickler.dumps(list(requests)))
        self._due += map(
            ForkingPickler.loads, map(ForkingPickler.dumps, self._servers[worker].answers(batch, received))
        )

    def events(self, seconds):
        due, self._due = self._due, []
        return due

    def now(self):
        self._clock += 1
        return self._clock

    def stop(self, worker):
        raise AssertionError("nobody is lost here")

    close = None


def routed_and_fused(tmp_path):
    directory = make_pool(tmp_path)
    members = read_members(directory)
    scores = np.eye(3)[[0, 1] * 6]
    digests = [member.digest for member in members.initial()]
    router = fit_router(PROMPTS, scores, members.pool.names, RouterSettings(), np.random.default_rng(0), digests)
    save_router(tmp_path / "router", router)
    names = ["expert_0", "expert_1", "expert_2"]
    for name, record in (
        ("routed", {"type": "router", "members": names, "classifier": "../../router"}),
        ("fused", {"type": "fusion", "members": names[:2]}),
        ("voted", {"type": "vote", "members": ["routed", "expert_2", "fused"]}),
    ):
        (directory / name).mkdir()
        (directory / name / "node.json").write_text(json.dumps(record))
    return directory


@pytest.mark.parametrize("kind", ["routed and fused", "models"])
def test_all_kinds_of_members(tmp_path, kind):
    directory = routed_and_fused(tmp_path) if kind == "routed and fused" else make_models(tmp_path)
    members = read_members(directory)
    mixed = members.at(members.pool.names, np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [1, 0, 0]]))
    tasks = [(single(member), [Query(prompt) for prompt in PROMPTS]) for member in (*members.initial(), *mixed)]
    engine = make_engine(members, SearchConfig())
    executor = WorkerExecutor(SentHere([partial(make_engine, members, SearchConfig(), "cpu")] * 2))
    assert Scheduler(executor).answer_all(tasks, PARAMS) == Scheduler(engine).answer_all(tasks, PARAMS)
    assert executor.facts() == engine.facts()
    assert all(work.requests > len(PROMPTS) for work in executor.work()), "both have worked"
    if kind == "routed and fused":
        routed, fused = engine.routed["routed"], engine.counts["fused"]
        assert executor.tally().routed["routed"]["by_member"] == routed.by_member and sum(routed.by_member.values())
        assert executor.tally().counts["fused"]["tokens"] == fused.tokens > 0


def test_requests_are_told_apart_elsewhere_as_here(tmp_path):
    members = read_members(make_pool(tmp_path))
    requests = [Request(member, "what", PARAMS) for member in members.initial()]
    assert ForkingPickler.loads(ForkingPickler.dumps(requests)) == requests


def test_what_is_added_up():
    one = Tally(1, {"fusion": {"tokens": 3, "dropped": 0.5, "left_out": {"a": "broken"}}}, {})
    other = Tally(2, {"fusion": {"tokens": 4, "dropped": 0.2, "left_out": {"b": "gone"}}, "more": {"tokens": 1}}, {})
    both = {"tokens": 7, "dropped": 0.5, "left_out": {"a": "broken", "b": "gone"}}
    assert total([one, other]) == Tally(3, {"fusion": both, "more": {"tokens": 1}}, {})
    assert total([]) == Tally()


def test_work_in_a_line():
    before = Work("here", 10, 100, seconds=5.0, busy=5.0, losses=("was killed",))
    now = Work("here", 30, 500, seconds=15.0, busy=10.0, memory=7, losses=("was killed", "hung"))
    step = now.since(before)
    assert step.record() == {
        "place": "here", "requests": 20, "requests_per_second": 4.0, "tokens_per_second": 80.0, "idle_share": 0.5,
        "memory_bytes": 7, "losses": ["hung"],
    }  # fmt: skip
    assert load_summary([step]) == "1 workers 50 % busy, 40 tokens/s, 1 lost"
    assert load_summary([step] * 9) == "9 workers 50 to 50 % busy, 360 tokens/s, 9 lost"
    assert load_summary([]) == "" and Work("new").record()["tokens_per_second"] == 0
