"""Blends as members: everybody answers, a model ranks, another one fuses; beside the same done by hand."""

import json
import shutil

import numpy as np
import pytest
from scorers import make_bert, make_classifier, make_fuser, make_pairrm
from tiny import make_pool

from swarm.engines.base import GenerationParams, Request
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.metered import Metered
from swarm.errors import UserError
from swarm.evolution.config import SearchConfig
from swarm.members.blending.fuser import load_fuser
from swarm.members.blending.fuser_settings import FuserSettings
from swarm.members.blending.pair_models import load_pair_model
from swarm.members.blending.pairwise import best_first
from swarm.members.members import read_members
from swarm.programs.engine_choice import make_engine
from swarm.system.prompts import Query, node_prompt
from swarm.system.scheduler import Scheduler
from swarm.system.system import System, graph_of, load_system, save_system, single

PARAMS = GenerationParams(6)
PROMPTS = ["what is red and blue", "one two three", "yes no yes", "what is three"]
READ = [node_prompt(Query(prompt), []) for prompt in PROMPTS]  # as members, ranker and fuser are asked


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three experts, a pair model of each kind and a fuser."""
    root = tmp_path_factory.mktemp("world")
    make_pool(root)
    make_pairrm(root / "pairrm")
    make_classifier(root / "cross", window=64)
    make_fuser(root / "fuser")
    return root


@pytest.fixture
def world(models, tmp_path):
    """The same, to be changed."""
    return shutil.copytree(models, tmp_path / "world")


def node(world, name="blend", **record):
    folder = world / "experts" / name
    folder.mkdir(exist_ok=True)
    given = {"type": "blend", "members": ["expert_0", "expert_1", "expert_2"], "ranker": "../../cross"} | record
    (folder / "node.json").write_text(json.dumps({key: value for key, value in given.items() if value is not None}))
    return read_members(world / "experts")


def asking(members):
    engine = make_engine(members, SearchConfig())
    meter = Metered(engine)
    return engine, meter, Scheduler(meter, CompletionCache(engine.facts()))


def answers(scheduler, member, prompts=PROMPTS, params=PARAMS):
    return scheduler.answer_all([(single(member), [Query(prompt) for prompt in prompts])], params)[0]


def texts_of(engine, members):
    """(P, M) what the experts say, as the engine gives it."""
    rows = []
    for expert in members.initial()[:3]:
        found = [pair for part in engine.inner.generate([Request(expert, p, PARAMS) for p in READ]) for pair in part]
        rows.append([completion.text for _, completion in sorted(found, key=lambda pair: pair[0])])
    return [list(row) for row in zip(*rows, strict=True)]


@pytest.mark.parametrize(("ranker", "mode"), [("cross", "all"), ("pairrm", "bubble")])
def test_the_best_ranked_answer_is_the_answer(world, ranker, mode):
    members = node(world, ranker=f"../../{ranker}", mode=mode)
    engine, meter, scheduler = asking(members)
    given = answers(scheduler, members.initial()[-1])
    texts = texts_of(engine, members)
    best = best_first(load_pair_model(str(world / ranker)), READ, texts, mode, 1)
    assert [" ".join(row[first].split()) for row, [first] in zip(texts, best, strict=True)] == given
    assert len({first for [first] in best}) > 1, "not always the same member's"
    assert meter.usage.generations == 3 * len(PROMPTS), "a ranking is no generation of an expert"
    count = engine.blended["blend"]
    assert (count.ranked, count.comparisons, count.fused) == (4, 4 * (6 if mode == "all" else 4), 0)
    assert answers(scheduler, members.initial()[-1]) == given and engine.blended["blend"] == count, "remembered"


def test_the_best_are_fused(world):
    members = node(world, fuser="../../fuser", top_k=2, beams=2)
    engine, meter, scheduler = asking(members)
    given = answers(scheduler, members.initial()[-1])
    texts = texts_of(engine, members)
    best = best_first(load_pair_model(str(world / "cross")), READ, texts, top=2)
    chosen = [[row[index] for index in order] for row, order in zip(texts, best, strict=True)]
    fused = load_fuser(str(world / "fuser")).fuse(READ, chosen, 6, FuserSettings(beams=2))
    assert given == [" ".join(text.split()) for text in fused]
    assert meter.usage.generations == 12 and engine.blended["blend"].fused == 4
    assert engine.blended["blend"].new_tokens > 0 and engine.blended["blend"].prompt_tokens > 0
    answers(scheduler, members.initial()[-1], params=GenerationParams(3, chat=True))
    assert engine.blended["blend"].fused == 8, "other lengths are other texts"


def test_it_evolves_with_its_members_and_sits_in_graphs_and_votes(world):
    node(world)
    members = node(world, "vote", type="vote", ranker=None, members=["blend", "expert_0", "expert_1"])
    engine, _, scheduler = asking(members)
    found = {member.name: member for member in members.initial()}
    moved = members.at(members.pool.names, np.array([[0, 1, 0], [0, 1, 0], [0, 1, 0]]))
    assert moved[3].digest != found["blend"].digest
    second = answers(scheduler, found["expert_1"])
    assert answers(scheduler, moved[3]) == second != answers(scheduler, found["blend"])
    ranked = engine.blended["blend"].ranked
    assert len(answers(scheduler, found["vote"])) == len(PROMPTS)
    assert engine.blended["blend"].ranked == ranked, "what was ranked for one is known to the other"
    system = System(graph_of(2, [(0, 1)]), (3, 2), members.initial(), PARAMS)
    engine.inner.side_by_side = None  # it takes nothing beside what it is asked
    asked, plain = [], engine.inner.generate
    engine.inner.generate = lambda requests: asked.extend(request.prompt for request in requests) or plain(requests)
    scheduler.answer_all([(system, [Query(PROMPTS[0])])], PARAMS)
    [first] = answers(scheduler, found["blend"], PROMPTS[:1])
    assert asked == [node_prompt(Query(PROMPTS[0]), [first], 1, 2)]


def test_a_found_system_names_its_models_from_anywhere(world, tmp_path):
    members = node(world, fuser="../../fuser")
    system = System(graph_of(1, []), (3,), members.initial(), PARAMS)
    save_system(tmp_path / "best", system, members, np.zeros((1, 1)))
    record = json.loads((tmp_path / "best/experts/blend/node.json").read_text())
    assert record["ranker"] == str(world / "cross") and record["fuser"] == str(world / "fuser")
    loaded = load_system((tmp_path / "best").rename(tmp_path / "moved"))
    given = Scheduler(make_engine(loaded.saved, SearchConfig())).answer_all([(loaded, [Query(PROMPTS[1])])], PARAMS)
    assert given == [answers(asking(members)[2], members.initial()[3], PROMPTS[1:2])]


def test_what_decides_is_in_its_digest(world):
    def digests(**record):
        members = node(world, **record)
        return members.initial()[3].digest, members.composites_digest

    first = digests()
    shutil.copytree(world / "cross", world / "again")
    assert digests(ranker="../../again") == first, "the same model elsewhere"
    make_classifier(world / "other", seed=5, window=64)
    make_fuser(world / "second", seed=5)
    fused = {"fuser": "../../fuser"}
    others = [digests(ranker="../../other"), digests(mode="bubble"), digests(members=["expert_0", "expert_1"]),
              digests(**fused), digests(fuser="../../second"), digests(**fused, top_k=2), digests(**fused, beams=1),
              digests(**fused, candidate_tokens=9), digests(**fused, input_tokens=99)]  # fmt: skip
    for which in (0, 1):
        assert len({first[which], *(other[which] for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"ranker": None}, r"names no ranker; wanted the folder or hub id .* such as llm-blender/PairRM-hf"),
        ({"ranker": 3}, r"ranker is 3; wanted a model's folder or hub id"),
        ({"ranker": "../../nowhere"}, r"model \.\./\.\./nowhere is not there; wanted a model's folder, from "),
        ({"ranker": "nobody/nothing"}, r"ranker: base model 'nobody/nothing' is neither .* from the hub"),
        ({"fuser": "nobody/nothing@refs/pr/1"}, r"answer fusion: base model 'nobody/nothing' is neither"),
        ({"fuser": "../../cross"}, r"is no encoder-decoder but bert; name a sequence-to-sequence model such as llm-bl"),
        ({"fuser": "../../fuser", "top_k": 4}, r"top_k is 4; wanted a whole number from 1 to 3, the number of members"),
        ({"fuser": "../../fuser", "top_k": 0}, r"top_k is 0; wanted a whole number from 1 to 3"),
        ({"fuser": "../../fuser", "top_k": True}, r"top_k is True; wanted"),
        ({"fuser": "../../fuser", "beams": 0}, r"beams is 0; wanted a whole number from 1 on"),
        ({"top_k": 2}, r"top_k is a fuser's, and there is none; name a fuser, or leave top_k out"),
        ({"mode": "knockout"}, r"mode is 'knockout'; wanted one of: all, bubble"),
        ({"by": "answer"}, r"has the field 'by'; wanted of: "),
        ({"members": ["expert_0"]}, r"wanted a list of at least 2 names"),
    ],
)
def test_a_wrong_node_is_one_line(world, record, message):
    with pytest.raises(UserError, match=message) as caught:
        node(world, **record)
    assert "\n" not in str(caught.value)


def test_a_ranker_of_the_wrong_kind_is_refused_before_anybody_is_asked(world):
    make_bert(world / "bert")
    members = node(world, ranker="../../bert")
    with pytest.raises(UserError, match=r"pairwise ranking: .*lacks the weights classifier") as caught:
        make_engine(members, SearchConfig())
    assert "\n" not in str(caught.value)
    make_classifier(world / "three", 3)
    with pytest.raises(UserError, match="has 3 labels, wanted 1"):
        make_engine(node(world, ranker="../../three"), SearchConfig())


def test_models_that_are_exchanged_meanwhile_are_refused(world):
    """Whatever the first model was read for (digests are kept as long as the program runs), the second is another."""
    members = node(world, fuser="../../fuser")
    assert members.initial()[-1].digest
    kept = (world / "fuser").rename(world / "before")
    make_fuser(world / "fuser", seed=1)
    with pytest.raises(UserError, match="fuser has changed since this program began; start it again"):
        make_engine(members, SearchConfig())
    shutil.rmtree(world / "fuser")
    kept.rename(world / "fuser")
    make_engine(members, SearchConfig())
