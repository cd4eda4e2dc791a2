"""Fusions as members: of experts that move and of other models, beside ordinary experts."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import make_base, make_models, make_pool
from transformers import AutoTokenizer, BartConfig, BartForConditionalGeneration

from swarm.engines.base import GenerationParams, Request
from swarm.engines.local.generation_settings import stopped
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.errors import UserError
from swarm.members.fusion.build import make_artefact
from swarm.members.fusion.fused_member import FusionMember
from swarm.members.fusion.fusion_artefact import save_artefact
from swarm.members.fusion.fusion_engine import FusionEngine
from swarm.members.fusion.fusion_node import anchors, other_model_digest
from swarm.members.fusion.fusion_settings import read_settings
from swarm.members.fusion.loading import ModelSource, load_lexicon
from swarm.members.members import read_composite, read_members
from swarm.system.execute import answer
from swarm.system.prompts import Query
from swarm.system.system import System, graph_of, load_system, save_system

PARAMS = GenerationParams(8)
PROMPTS = ["what is red", "one two three", "no", "is blue green yes"]


def node(folder, *members, **record):
    """A fusion's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "node.json").write_text(json.dumps({"type": "fusion", "members": list(members)} | record))
    return folder


def engine_of(members, device="cpu", device_map=None):
    """One that answers for all of them."""
    fusions = [member for member in members.initial() if isinstance(member, FusionMember)]
    return FusionEngine(InProcessEngine(members.pool, device=device, device_map=device_map), fusions)


def texts(engine, member, prompts=PROMPTS, params=PARAMS):
    """What a member answers."""
    requests = [Request(member, prompt, params) for prompt in prompts]
    found = {index: completion for finished in engine.generate(requests) for index, completion in finished}
    return [found[index].text.strip() for index in range(len(prompts))]


@pytest.fixture
def directory(tmp_path):
    directory = make_pool(tmp_path)
    make_base(tmp_path / "other", seed=5, family="gpt2")
    return directory


def test_it_answers_beside_experts_that_move(directory):
    node(directory / "fused", "expert_0", "expert_1", {"model": "../../other"}, learning_rate=0.5)
    members = read_members(directory)
    engine = engine_of(members)
    *experts, fused = members.initial()
    before, single = texts(engine, fused), texts(engine, experts[0])
    assert before != single, "the others have a say"
    moved = members.at(members.pool.names, np.array([[0, 0, 1], [0.5, 0.5, 0], [1, 0, 0]]))[-1]
    assert moved.digest != fused.digest
    assert texts(engine, moved) != before
    assert texts(engine, fused) == before
    assert texts(engine, experts[0]) == single, "experts that were loaded before answer as before"
    assert texts(engine, fused, PROMPTS[:1]) == before[:1]


def test_it_stops_and_its_models_are_told_as_experts_are(directory):
    node(directory / "fused", "expert_0", {"model": "../../other"})
    *_, fused = read_members(directory).initial()
    engine = engine_of(read_members(directory))
    plain = texts(engine, fused)
    stop = plain[0].split()[1]
    ended = texts(engine, fused, params=replace(PARAMS, stop_strings=(stop,)))
    assert ended == [stopped(text, (stop,)).strip() for text in plain] != plain
    template = "{% for m in messages %}{{ m.content }} {% endfor %}{{ effort }}"
    told = replace(PARAMS, chat=True, chat_template_kwargs=(("effort", "low"),))
    with pytest.raises(UserError, match="base has no chat template for --chat_template_kwargs"):
        texts(engine, fused, params=told)
    engine.inner.tokenizer.chat_template = template
    assert len(texts(engine, fused, params=told)) == 4, "the other one has no template at all"
    with pytest.raises(UserError, match="other has no chat template for --system_message"):
        texts(engine, fused, params=replace(PARAMS, chat=True, system_message="one"))


@pytest.mark.parametrize("lora", [{}, {"use_dora": True}], ids=["beside each other", "copies"])
def test_a_base_in_two_parts_writes_the_same(tmp_path, lora):
    directory = make_pool(tmp_path, 2, **lora)
    make_base(tmp_path / "other", seed=5, family="gpt2")
    node(directory / "fused", "expert_0", "expert_1", {"model": "../../other"}, learning_rate=0.5)
    members = read_members(directory)
    parts = "embed_tokens layers.0 layers.1 norm rotary_emb".split()
    placed = {f"model.{part}": "cpu" for part in parts} | {"lm_head": "cpu"}
    whole, divided = engine_of(members), engine_of(members, "cpu+cpu", placed)
    assert divided.inner.divided
    for member in (members.initial()[-1], members.initial()[0], members.initial()[-1]):
        assert texts(divided, member) == texts(whole, member)


def test_a_translator_writes_in_the_language_that_node_json_names(directory, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    tokenizer.add_special_tokens({"additional_special_tokens": ["deu_Latn", "fra_Latn"]})
    size = {"vocab_size": len(tokenizer), "d_model": 16, "max_position_embeddings": 64, "decoder_start_token_id": 1}
    sides = {
        f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads", "ffn_dim")
    }
    BartForConditionalGeneration(BartConfig(**size, **sides)).save_pretrained(tmp_path / "translator")
    tokenizer.save_pretrained(tmp_path / "translator")
    digests = set()
    for language in ("", "deu_Latn", "fra_Latn"):
        named = {"model": "../../translator"} | ({"language": language} if language else {})
        node(directory / "fused", "expert_0", named)
        [fusion] = (members := read_members(directory)).composites
        digests.add(fusion.digest)
    assert len(digests) == 3
    engine = engine_of(members)
    fused = members.initial()[-1]
    assert len(texts(engine, fused)) == len(PROMPTS)
    translator = engine._placement.fusion_models(fused)[1]
    assert translator.stepper._given[-1] == tokenizer.convert_tokens_to_ids("fra_Latn")
    fusion.write(tmp_path / "kept" / "fused")
    assert read_composite(tmp_path / "kept" / "fused").digest == fusion.digest
    node(directory / "fused", "expert_0", {"model": "../../translator", "language": "klingon"})
    with pytest.raises(UserError, match="has no target language 'klingon' in node.json; name one .* deu_Latn"):
        engine_of(read_members(directory))


def test_requests_come_mixed(directory):
    node(directory / "fused", "expert_0", "expert_1", learning_rate=0.5)
    members = read_members(directory)
    engine = engine_of(members)
    wanted = {member.name: texts(engine, member) for member in members.initial()}
    requests = [Request(member, prompt, PARAMS) for prompt in PROMPTS for member in members.initial()]
    found = {index: completion for finished in engine.generate(requests) for index, completion in finished}
    for index, request in enumerate(requests):
        assert found[index].text.strip() == wanted[request.member.name][PROMPTS.index(request.prompt)]
    assert found[3].prompt_tokens == 2 * found[0].prompt_tokens, "both models read the prompt"


@pytest.mark.parametrize("lora", [{"use_dora": True}, None], ids=["DoRA", "full models"])
def test_experts_that_need_a_model_of_their_own(tmp_path, lora):
    directory = make_pool(tmp_path, **lora) if lora else make_models(tmp_path)
    node(directory / "fused", "expert_0", "expert_1", learning_rate=0.5)
    members = read_members(directory)
    engine = engine_of(members)
    first, second, third, fused = members.initial()
    before = texts(engine, fused)
    assert before != texts(engine, first)
    moved = members.at(members.pool.names, np.eye(3)[[2, 1, 0]])[-1]
    assert texts(engine, moved) != before
    assert texts(engine, fused) == before
    assert len({tuple(texts(engine, each)) for each in (first, second, third)}) == 3


def test_adapters_beside_each_other_are_as_models_of_their_own(tmp_path):
    """The same experts once as adapters of one base and once as whole models."""
    directory = make_pool(tmp_path)
    node(directory / "fused", "expert_0", "expert_1", learning_rate=0.5)
    members = read_members(directory)
    engine = engine_of(members)
    side_by_side = texts(engine, members.initial()[-1])
    engine._placement._beside = ()
    import swarm.members.fusion.model_placement as hosts

    before = hosts.why_not_batched
    try:
        hosts.why_not_batched = lambda model, weights: "for the test"
        apart = engine_of(members)
        assert texts(apart, members.initial()[-1]) == side_by_side
    finally:
        hosts.why_not_batched = before


def test_weights_by_perplexity(directory):
    node(directory / "fused", "expert_0", "expert_1", learning_rate=0.5, weights="perplexity")
    members = read_members(directory)
    together = texts(engine_of(members), members.initial()[-1])
    assert together == [texts(engine_of(members), members.initial()[-1], [prompt])[0] for prompt in PROMPTS]


def test_it_is_saved_and_loaded(directory, tmp_path):
    node(
        tmp_path / "beside" / "fused",
        "expert_2",
        {"model": "../../other", "name": "gpt"},
        learning_rate=0.5,
        main="gpt",
    )
    members = read_members(directory, beside=tmp_path / "beside")
    assert [part.name for part in members.initial()[-1].members] == ["gpt", "expert_2"]
    system = System(graph_of(2, [(0, 1)]), (0, 3), members.initial(), PARAMS)
    save_system(tmp_path / "found" / "best", system, members, np.ones((2, 2)))
    loaded = load_system(tmp_path / "found" / "best")
    assert [member.name for member in loaded.members] == ["expert_0", "expert_2", "fused"]
    queries = [Query(prompt) for prompt in PROMPTS]
    assert answer(engine_of(loaded.saved), loaded, queries) == answer(engine_of(members), system, queries)


def test_the_digest_follows_all_that_counts(directory, tmp_path):
    def digest(*entries, **record):
        node(directory / "fused", *entries, **record)
        return read_members(directory).initial()[-1].digest

    pair = ("expert_0", {"model": "../../other"})
    digests = [
        digest(*pair),
        digest("expert_1", {"model": "../../other"}),
        digest(*pair, learning_rate=0.2),
        digest(*pair, main="other"),
        digest("expert_0", "expert_1"),
    ]
    assert len(set(digests)) == 5
    assert digest(*pair, learning_rate=0.15, mode="vanilla") == digests[0], "defaults that are spelt out"
    assert digest(*pair, row_memory=256) == digests[0], "by which answers are known since that was the default"
    assert digest("expert_0", {"model": str(tmp_path / "other"), "name": "by another name"}) == digests[0]
    made = {}
    for name, chosen in (("one", {}), ("again", {}), ("few", {"anchors": "random", "anchor_count": 3})):
        lexicons = [load_lexicon(name, ModelSource(str(tmp_path / name))) for name in ("base", "other")]
        save_artefact(tmp_path / name, make_artefact(lexicons, read_settings("here", chosen, 2), False))
        made[name] = digest(*pair, artefact=str(tmp_path / name))
    assert made["one"] == made["again"] != made["few"], "an artefact counts by its content, wherever it lies"
    assert digests[0] not in made.values()


def test_a_search_knows_its_fusion_again_where_its_model_has_moved(directory, tmp_path):
    node(directory / "fused", "expert_0", {"model": "../../other"})
    before = read_members(directory).composites_digest
    (tmp_path / "other").rename(tmp_path / "moved")
    node(directory / "fused", "expert_0", {"model": "../../moved", "name": "other"})
    assert read_members(directory).composites_digest == before
    node(directory / "fused", "expert_1", {"model": "../../moved", "name": "other"})
    assert read_members(directory).composites_digest != before


def test_its_digest_has_the_artefact_by_content(directory, tmp_path):
    pair = [str(tmp_path / "base"), str(tmp_path / "other")]
    lexicons = [load_lexicon(path, ModelSource(path)) for path in pair]

    def digest(artefact, **record):
        other_model_digest.cache_clear()
        anchors.cache_clear()
        save_artefact(tmp_path / artefact, make_artefact(lexicons, read_settings("here", record, 2), dense=False))
        node(directory / "fused", "expert_0", {"model": "../../other"}, artefact=f"../../{artefact}")
        composite = read_composite(directory / "fused")
        return read_members(directory).initial()[-1].digest, composite.digest

    first = digest("anchors")
    other = digest("anchors", centre=True)
    assert first[0] != other[0] and first[1] != other[1], "another one in the same place"
    assert digest("moved")[0] == first[0]
    assert digest("anchors") == first


def test_its_digest_has_the_code_of_other_models(directory, tmp_path):
    node(directory / "fused", "expert_0", {"model": "../../other"})
    before = read_members(directory).initial()[-1].digest
    (tmp_path / "other" / "modeling_own.py").write_text("pass")
    other_model_digest.cache_clear()
    assert read_members(directory).initial()[-1].digest != before


@pytest.mark.parametrize(
    ("members", "record", "message"),
    [
        (["expert_0"], {}, "members is .*wanted a list of at least 2"),
        (["expert_0", "expert_0"], {}, "names member 'expert_0' twice"),
        (["expert_0", {"model": 7}], {}, "a member is {'model': 7}; wanted a name of the pool"),
        (["expert_0", {"path": "x"}], {}, "a member is {'path': 'x'}"),
        (["expert_0", {"model": ""}], {}, "a member is {'model': ''}; wanted a name of the pool"),
        (["expert_0", {"model": "a/b", "name": 7}], {}, "a member is .*'name': 7}; wanted"),
        (["expert_0", {"model": "a/b", "revision": 7}], {}, "a member is .*'revision': 7}; wanted"),
        (["expert_0", {"model": "../nowhere"}], {}, "node.json: model ../nowhere is not there; wanted a model's"),
        (["expert_0", "expert_1"], {"main": "expert_2"}, "main is 'expert_2'; wanted one of: expert_0, expert_1"),
        (["expert_0", "expert_1"], {"speed": 1}, "has the field 'speed'; wanted of: "),
        (["expert_0", "expert_1"], {"mode": "tas3"}, "node.json: mode 'tas3' is none of vanilla, tas, tas2"),
        (["expert_0", "expert_1"], {"anchor_count": 9}, "node.json: anchor_count is 9, which has no effect"),
        (["expert_0", "expert_1"], {"artefact": "x", "space": "union"}, "space 'union' has no anchors"),
        (["expert_0", "expert_1"], {"artefact": "x", "keys": "bytes"}, "leave out either it or keys"),
        (["expert_0", "expert_1"], {"artefact": "../nowhere"}, "is not there: .* holds no artefact"),
    ],
)
def test_faults_are_named(tmp_path, members, record, message):
    with pytest.raises(UserError, match=message):
        read_composite(node(tmp_path / "fused", *members, **record))


def test_faults_of_the_members_are_named(directory, tmp_path):
    def refused(message, *members, **record):
        node(directory / "fused", *members, **record)
        with pytest.raises(UserError, match=message):
            engine_of(read_members(directory))

    refused("names member 'expert_9', which the pool lacks", "expert_0", "expert_9")
    node(directory / "vote", "expert_0", "expert_1", type="vote")
    refused("names vote, a composite, which cannot be stepped", "expert_0", "vote")
    refused("as the pool calls a member", "expert_0", {"model": "../../other", "name": "expert_1"})
    (tmp_path / "empty").mkdir()
    refused("has no config.json; wanted .* named in node.json", "expert_0", {"model": "../../empty"})


def test_a_fusion_that_is_switched_off_says_so(directory, caplog):
    node(directory / "fused", "expert_1", "expert_0", learning_rate=0)
    members = read_members(directory)
    assert "learning_rate is 0, which turns the fusion off: the main model answers alone" in caplog.text
    engine = engine_of(members)
    assert texts(engine, members.initial()[-1]) == texts(engine, members.initial()[1])
