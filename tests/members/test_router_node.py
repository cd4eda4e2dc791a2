"""Routers as members: one classifier call, one expert asked, beside ordinary experts and in other composites."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import make_pool

from swarm.engines.base import GenerationParams, Request
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.metered import Metered
from swarm.errors import UserError
from swarm.evolution.config import SearchConfig
from swarm.members.members import read_members
from swarm.members.routing.calibration import NEVER
from swarm.members.routing.fit import RouterSettings, fit_router
from swarm.members.routing.hidden_states import HiddenSettings
from swarm.members.routing.interfaces import LanguageModel
from swarm.members.routing.router_artefact import save_router
from swarm.members.routing.router_store import RouterStore
from swarm.programs.engine_choice import make_engine
from swarm.system.prompts import Query, node_prompt
from swarm.system.scheduler import Scheduler
from swarm.system.system import System, graph_of, load_system, save_system, single

PARAMS = GenerationParams(6)
COLOURS = [f"what is {one} and {two}" for one in ("red", "blue", "green") for two in ("red", "blue", "green", "one")]
NUMBERS = [f"one two three {one} {two}" for one in ("one", "two", "three") for two in ("yes", "no", "one", "two")]
PROMPTS = [*COLOURS, *NUMBERS]
SCORES = np.array([[1.0, 0.0, 0.2]] * len(COLOURS) + [[0.0, 1.0, 0.2]] * len(NUMBERS))


@pytest.fixture
def directory(tmp_path):
    return make_pool(tmp_path)


def fitted(folder, members, prompts=PROMPTS, **options):
    """A router, saved, that sends colours to the first expert and numbers to the second."""
    digests = [member.digest for member in members.initial()[:3]]
    names, settings = members.pool.names, RouterSettings(**options)
    reader = options.get("features") and LanguageModel(**host_of(members))
    router = fit_router(prompts, SCORES, names, settings, np.random.default_rng(0), digests, reader or None)
    return save_router(folder, router)


def host_of(members):
    engine = make_engine(members.pool, SearchConfig())
    engine.clear()
    return {"model": engine.model, "tokenizer": engine.tokenizer, "digest": engine.facts()["base"]}


def node(folder, classifier="../../router", members=("expert_0", "expert_1", "expert_2"), **record):
    """A router's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"type": "router", "members": list(members), "classifier": classifier} | record
    (folder / "node.json").write_text(json.dumps(record))
    return folder


def asked(engine):
    """Has an engine note who is asked what; it takes nothing beside what it is asked."""
    engine.side_by_side = None
    seen, plain = [], engine.generate

    def noted(requests):
        seen.extend((request.member.name, request.prompt) for request in requests)
        return plain(requests)

    engine.generate = noted
    return seen


def answers(scheduler, member, prompts):
    return scheduler.answer_all([(single(member), [Query(prompt) for prompt in prompts])], PARAMS)[0]


def test_only_the_chosen_expert_is_asked(directory, tmp_path):
    fitted(tmp_path / "router", read_members(directory))
    node(directory / "routed")
    members = read_members(directory)
    engine = make_engine(members, SearchConfig())
    host = asked(engine.inner)
    meter = Metered(engine)
    scheduler = Scheduler(meter, CompletionCache(engine.facts()))
    *experts, routed = members.initial()
    mixed = [COLOURS[0], NUMBERS[0], COLOURS[5], NUMBERS[7]]
    given = answers(scheduler, routed, mixed)
    assert [name for name, _ in sorted(host, key=lambda one: one[0])] == ["expert_0"] * 2 + ["expert_1"] * 2
    assert meter.usage.generations == 4, "a choice is no generation"
    wanted = [
        answers(scheduler, experts[index], [prompt])[0] for index, prompt in zip((0, 1, 0, 1), mixed, strict=True)
    ]
    assert given == wanted
    assert len(host) == 4, "what the experts were asked for the router is remembered"
    count = engine.routed["routed"]
    assert (count.prompts, count.by_member) == (4, {"expert_0": 2, "expert_1": 2, "expert_2": 0})


def test_it_reads_the_prompt_of_its_node(directory, tmp_path):
    fitted(tmp_path / "router", read_members(directory))
    node(directory / "routed")
    members = read_members(directory)
    engine = make_engine(members, SearchConfig())
    host = asked(engine.inner)
    system = System(graph_of(2, [(0, 1)]), (2, 3), members.initial(), PARAMS)
    query = Query(COLOURS[3])
    [[text]] = Scheduler(engine).answer_all([(system, [query])], PARAMS)
    (_, first), (name, second) = host
    assert name == "expert_0" and second == node_prompt(query, [first_answer(engine, members, first)], 1, 2)
    assert text


def first_answer(engine, members, prompt):
    [[(_, completion)]] = list(engine.inner.generate([Request(members.initial()[2], prompt, PARAMS)]))
    return " ".join(completion.text.split())


def test_it_evolves_with_its_members(directory, tmp_path):
    fitted(tmp_path / "router", read_members(directory))
    node(directory / "routed")
    members = read_members(directory)
    scheduler = Scheduler(make_engine(members, SearchConfig()))
    moved = members.at(members.pool.names, np.array([[0, 0, 1], [0.5, 0.5, 0], [1, 0, 0]]))
    assert moved[-1].digest != members.initial()[-1].digest
    assert answers(scheduler, moved[-1], COLOURS[:2]) == answers(scheduler, moved[0], COLOURS[:2])
    assert answers(scheduler, moved[-1], NUMBERS[:2]) == answers(scheduler, moved[1], NUMBERS[:2])


def test_the_base_model_s_own_states_are_read_whoever_has_spoken(directory, tmp_path):
    members = read_members(directory)
    saved = fitted(tmp_path / "router", members, features=HiddenSettings())
    node(directory / "routed")
    members = read_members(directory)
    engine = make_engine(members, SearchConfig())
    list(engine.inner.generate([Request(members.initial()[2], COLOURS[0], PARAMS)]))
    chooser = members.initial()[-1].chooser
    requests = [Request(chooser, prompt, PARAMS) for prompt in PROMPTS]
    [found] = list(engine.generate(requests))
    choices = [json.loads(completion.text)[0] for _, completion in found]
    assert choices == [choice.member for choice in saved.choose(PROMPTS)]
    assert set(choices) == {0, 1}


def test_two_states_of_one_router_choose_each_by_its_own(directory, tmp_path):
    """As in the final scores: the first one alone beside a system with one that was fitted again."""
    members = read_members(directory)
    first = fitted(tmp_path / "router", members)
    node(directory / "routed")
    members = read_members(directory)
    again = replace(first, fallback=2, threshold=NEVER)  # always asks the third expert
    router_store = RouterStore(tmp_path / "routers")
    other = members.with_routers({"routed": router_store.put("routed", again)}, router_store)
    engine = make_engine(members, SearchConfig())
    experts, routed = members.initial()[:3], (members.initial()[-1], other.initial()[-1])
    for _ in range(2):
        scheduler = Scheduler(engine)
        given = scheduler.answer_all([(single(one), [Query(COLOURS[0])]) for one in routed], PARAMS)
        assert given == [answers(scheduler, experts[index], COLOURS[:1]) for index in (0, 2)]


def test_a_router_that_is_exchanged_meanwhile_is_refused(directory, tmp_path):
    first = fitted(tmp_path / "router", read_members(directory))
    node(directory / "routed")
    members = read_members(directory)
    save_router(tmp_path / "router", replace(first, fallback=2, threshold=NEVER))
    with pytest.raises(UserError, match="router was fitted again since this program began"):
        make_engine(members, SearchConfig())


def test_a_router_in_a_vote_and_over_a_vote(directory, tmp_path):
    fitted(tmp_path / "router", read_members(directory))
    node(directory / "routed")
    (directory / "vote").mkdir()
    (directory / "vote" / "node.json").write_text('{"type": "vote", "members": ["routed", "expert_0", "expert_2"]}')
    members = read_members(directory)
    found = {member.name: member for member in members.initial()}
    scheduler = Scheduler(make_engine(members, SearchConfig()))
    given = answers(scheduler, found["vote"], COLOURS)
    assert given == answers(scheduler, found["expert_0"], COLOURS), "two of three votes are the first expert's"


def test_a_found_system_holds_its_classifier(directory, tmp_path):
    fitted(tmp_path / "router", read_members(directory))
    node(directory / "routed", threshold=0.1)
    members = read_members(directory)
    moved = members.at(members.pool.names, np.array([[0, 0, 1], [0.5, 0.5, 0], [1, 0, 0]]))
    system = System(graph_of(1, []), (3,), moved, PARAMS)
    save_system(tmp_path / "best", system, members, np.zeros((1, 1)))
    (tmp_path / "router").rename(tmp_path / "gone")
    loaded = load_system(tmp_path / "best")
    given = Scheduler(make_engine(loaded.saved, SearchConfig())).answer_all([(loaded, [Query(COLOURS[1])])], PARAMS)
    assert given == Scheduler(make_engine(members.pool, SearchConfig())).answer_all(
        [(single(moved[0]), [Query(COLOURS[1])])], PARAMS
    )


def test_a_classifier_of_other_weights_is_refused_unless_that_is_meant(directory, tmp_path):
    members = read_members(directory)
    router = fit_router(PROMPTS, SCORES, members.pool.names, RouterSettings(), np.random.default_rng(0), ["x", *"yz"])
    save_router(tmp_path / "router", router)
    node(directory / "routed")
    with pytest.raises(UserError, match=r"other weights of expert_0, expert_1, expert_2; fit it again .*any_weights"):
        read_members(directory)
    node(directory / "routed", any_weights=True)
    assert read_members(directory).names[-1] == "routed"


def test_what_decides_is_in_its_digest(directory, tmp_path):
    members = read_members(directory)
    router = fitted(tmp_path / "router", members)

    def digests(**record):
        node(directory / "routed", **record)
        members = read_members(directory)
        return members.initial()[-1].digest, members.composites_digest

    first = digests()
    for other in (digests(threshold=0.9), digests(threshold=0.2)):
        assert other[0] != first[0] and other[1] != first[1]
    assert digests(members=["expert_2", "expert_1", "expert_0"]) == first, "the order is the classifier's"
    save_router(tmp_path / "router", replace(router, threshold=0.99))
    assert digests()[0] != first[0]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"classifier": None}, r"classifier is None; wanted the folder of a fitted router"),
        ({"classifier": "../nowhere"}, r"router\.json is not there"),
        (
            {"members": ["expert_0", "expert_1"]},
            r"fitted for expert_0, expert_1, expert_2; name those",
        ),
        ({"threshold": 2}, r"threshold is 2; wanted a confidence from 0 to 1"),
        ({"any_weights": "yes"}, r"any_weights is 'yes'; wanted true or false"),
        ({"by": "answer"}, r"has the field 'by'; wanted of: "),
    ],
)
def test_a_wrong_node_is_one_line(directory, tmp_path, record, message):
    fitted(tmp_path / "router", read_members(directory))
    node(directory / "routed", **record)
    with pytest.raises(UserError, match=message) as caught:
        read_members(directory)
    assert ("\n" not in str(caught.value) and "routed" in str(caught.value)) or "router.json" in str(caught.value)
