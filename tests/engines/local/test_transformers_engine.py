"""The transformers engine against plain transformers + PEFT, on real tiny models."""

import dataclasses
import json

import pytest
import torch
from answers import answers_of
from families import APART
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny import make_adapter, make_base, make_pool
from transformers import AutoTokenizer, GenerationConfig, LlamaForCausalLM

from swarm.engines.base import GenerationParams, Request
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.local.chat_template import tells_history
from swarm.engines.local.resident_model import FoldedResident, PeftResident
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.errors import UserError
from swarm.weights.materialise import materialise
from swarm.weights.pool import read_pool

PARAMS = GenerationParams(max_new_tokens=6)
PROMPTS = ["what is red", "is two blue yes no one", "no", "green green what is three is one yes blue red"]


def run(engine, requests):
    return [completion.text for completion in answers_of(engine, requests)]


def requests_of(pool, prompts=PROMPTS, params=PARAMS):
    return [Request(expert, prompt, params) for prompt in prompts for expert in pool.experts()]


def reference(pool, request, **options):
    """One prompt at a time, each with model and adapter loaded anew, as the published program does."""
    folder = next(a.folder for a in pool.adapters if a.name == request.member.name)
    model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(pool.base), folder)
    tokenizer = AutoTokenizer.from_pretrained(pool.base)
    ids = tokenizer(request.prompt, return_tensors="pt", **options)["input_ids"]
    output = model.generate(input_ids=ids, do_sample=False, max_new_tokens=request.params.max_new_tokens)
    return tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("lora", [{}, {"use_rslora": True}, {"use_dora": True}, {"target_modules": ["embed_tokens"]}])
def test_texts_equal_plain_transformers(tmp_path, lora):
    pool = read_pool(make_pool(tmp_path, **lora))
    requests = requests_of(pool)
    engine = InProcessEngine(pool, device="cpu")
    texts = run(engine, requests)
    assert texts == [reference(pool, request) for request in requests]
    assert len(set(texts)) > 3, "the experts should differ, or this shows nothing"
    assert texts == run(engine, requests), "experts are exchanged without a trace"


@pytest.mark.parametrize("token_budget", [1, 40, 10_000])
def test_batches_change_no_text(tmp_path, token_budget):
    pool = read_pool(make_pool(tmp_path))
    requests = requests_of(pool)
    whole = run(InProcessEngine(pool, device="cpu"), requests)
    assert run(InProcessEngine(pool, device="cpu", token_budget=token_budget), requests[::-1])[::-1] == whole


def test_folding_equals_peft_layers(tmp_path):
    """Both kinds of resident model, for an expert that is a mixture."""
    pool = read_pool(make_pool(tmp_path), combine="exact")
    weights = materialise(pool, [0.5, 0.7, -0.1])
    ids = torch.tensor([[2, 12, 13, 9, 4]])
    folded = InProcessEngine(pool, device="cpu")._resident
    assert isinstance(folded, FoldedResident)
    peft = PeftResident(LlamaForCausalLM.from_pretrained(pool.base), weights)
    for resident in (folded, peft):
        resident.load(materialise(pool, [0, 1, 0]))
        resident.load(weights)
    torch.testing.assert_close(folded.model(ids).logits, peft.model(ids).logits, **APART[torch.float32])


def test_half_precision_keeps_the_factors_apart(tmp_path):
    """The path of every GPU: equal to a PeftModel in bfloat16, logit for logit, after other experts sat there."""
    pool = read_pool(make_pool(tmp_path))
    engine = InProcessEngine(pool, device="cpu", dtype="bfloat16")
    assert engine.facts()["weights"] == "peft"
    ids = torch.tensor([[2, 12, 13, 9, 4]])
    for adapter, expert in [*zip(pool.adapters, pool.experts(), strict=True)] * 2:
        engine._resident.load(materialise(pool, expert.coefficients))
        base = LlamaForCausalLM.from_pretrained(pool.base, dtype=torch.bfloat16)
        plain = PeftModel.from_pretrained(base, adapter.folder).eval()
        with torch.inference_mode():
            assert torch.equal(engine._resident.model(ids).logits, plain(ids).logits)
    assert len(set(run(engine, requests_of(pool)))) > 3


def test_decoding_is_greedy_whatever_the_model_s_own_settings_are(tmp_path):
    """Many chat models sample by default."""
    directory = make_pool(tmp_path)
    plain = run(InProcessEngine(read_pool(directory), device="cpu"), requests_of(read_pool(directory)))
    settings = GenerationConfig(do_sample=True, temperature=1.5, top_p=0.9, top_k=5, pad_token_id=0, eos_token_id=[1])
    settings.save_pretrained(tmp_path / "base")
    for _ in range(2):
        assert run(InProcessEngine(read_pool(directory), device="cpu"), requests_of(read_pool(directory))) == plain


def test_the_base_s_digest_is_of_what_was_loaded(tmp_path):
    """Not of other files beside it, so that a cache that fills up later changes nothing."""
    directory = make_pool(tmp_path)

    def digest():
        return InProcessEngine(read_pool(directory), device="cpu").facts()["base"]

    first = digest()
    (tmp_path / "base" / "README.json").write_text("{}")
    (tmp_path / "base" / "other.safetensors").write_bytes(b"")
    assert digest() == first
    LlamaForCausalLM.from_pretrained(tmp_path / "base").save_pretrained(tmp_path / "base", max_shard_size="5KB")
    (tmp_path / "base" / "model.safetensors").unlink(missing_ok=True)
    sharded = digest()
    assert sharded != first
    shard = sorted((tmp_path / "base").glob("model-*.safetensors"))[1]
    tensors = load_file(shard)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, shard, {"format": "pt"})
    assert digest() != sharded


def test_a_base_that_cannot_be_loaded(tmp_path):
    directory = make_pool(tmp_path)
    weights = tmp_path / "base" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(UserError, match="cannot be loaded .*fetch it again"):
        InProcessEngine(read_pool(directory), device="cpu")
    weights.write_bytes(whole)
    for path in (tmp_path / "base").glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UserError, match="tokenizer"):
        InProcessEngine(read_pool(directory), device="cpu")


def test_chat_template_and_the_second_bos(tmp_path):
    directory = make_pool(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    tokenizer.chat_template = "{{ bos_token }} {% for m in messages %}{{ m.content }} {% endfor %}yes"
    tokenizer.save_pretrained(tmp_path / "base")
    engine = InProcessEngine(read_pool(directory), device="cpu")
    chat = GenerationParams(6, chat=True)
    assert engine._tokenise(["red no"], chat) == [[2, 4, 8, 7]]
    assert engine._tokenise(["red no"], PARAMS) == [[4, 8]]
    # this tokenizer adds nothing by itself, so a second <bos> shows only with one that does
    engine.tokenizer._tokenizer.post_processor = _bos_in_front()
    assert engine._tokenise(["red no"], chat) == [[2, 4, 8, 7]]
    assert engine._tokenise(["red no"], dataclasses.replace(chat, second_bos=True)) == [[2, 2, 4, 8, 7]]
    assert engine._tokenise(["red no"], PARAMS) == [[2, 4, 8]]


def _bos_in_front():
    from tokenizers.processors import TemplateProcessing

    return TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])


def test_tokens_are_counted_without_padding(tmp_path):
    pool = read_pool(make_pool(tmp_path))
    requests = requests_of(pool)
    completions = answers_of(InProcessEngine(pool, device="cpu"), requests)
    for request, completion in zip(requests, completions, strict=True):
        assert completion.prompt_tokens == len(request.prompt.split())
        assert 1 <= completion.new_tokens <= 6


def test_out_of_memory_halves_the_batch(tmp_path, monkeypatch, caplog):
    pool = read_pool(make_pool(tmp_path))
    requests = requests_of(pool)
    whole = run(InProcessEngine(pool, device="cpu"), requests)
    engine = InProcessEngine(pool, device="cpu")
    forward = engine.decoder.core.forward

    def small_memory(ids, *rest):
        if len(ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(ids, *rest)

    monkeypatch.setattr(engine.decoder.core, "forward", small_memory)
    assert run(engine, requests) == whole
    assert engine.halvings >= 2
    assert sum("out of memory" in r.message for r in caplog.records if r.levelname == "WARNING") == 1
    monkeypatch.setattr(engine.decoder.core, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(UserError, match="one prompt of 10 tokens does not fit into the memory of cpu"):
        run(engine, requests)


def test_bases_that_do_not_fit(tmp_path):
    directory = make_pool(tmp_path)
    with pytest.raises(UserError, match="neither a local folder nor to be had from the hub"):
        InProcessEngine(read_pool(directory, base="nobody/nothing"), device="cpu")
    with pytest.raises(UserError, match="no config.json"):
        InProcessEngine(read_pool(directory, base=str(tmp_path)), device="cpu")
    torch.manual_seed(0)
    wide = LlamaForCausalLM.from_pretrained(tmp_path / "base").config
    wide.intermediate_size = 64
    make_base(tmp_path / "wide")
    LlamaForCausalLM(wide).save_pretrained(tmp_path / "wide")
    with pytest.raises(UserError, match=r"layer model.layers.0.mlp.down_proj is 16 x 32, but 16 x 64 in base"):
        InProcessEngine(read_pool(directory, base=str(tmp_path / "wide")), device="cpu")
    wide.num_hidden_layers = 1
    LlamaForCausalLM(wide).save_pretrained(tmp_path / "wide")
    make_adapter(tmp_path / "deep" / "one", tmp_path / "base", 1, target_modules=["q_proj"])
    with pytest.raises(UserError, match=r"layer model.layers.1.self_attn.q_proj, which base model .* does not have"):
        InProcessEngine(read_pool(tmp_path / "deep", base=str(tmp_path / "wide")), device="cpu")


def test_an_interrupted_load_leaves_no_expert_loaded(tmp_path, monkeypatch):
    pool = read_pool(make_pool(tmp_path))
    engine = InProcessEngine(pool, device="cpu")
    first, second, _ = pool.experts()
    before = run(engine, [Request(first, "what is red", PARAMS)])
    load = engine._resident.load

    def load_half(weights):
        load(weights)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine._resident, "load", load_half)
    with pytest.raises(KeyboardInterrupt):
        list(engine.generate([Request(second, "what is red", PARAMS)]))
    monkeypatch.setattr(engine._resident, "load", load)
    assert run(engine, [Request(first, "what is red", PARAMS)]) == before


def test_tokens_are_those_of_the_tokenizer_s_own_call(tmp_path):
    """Also where its file brings truncation and padding along."""
    from swarm.programs.front_doors import expert_directory

    tiny = make_pool(tmp_path)
    for directory in (tiny, expert_directory(None)[0]):
        engine = InProcessEngine(read_pool(directory), device="cpu")
        engine.tokenizer.backend_tokenizer.post_processor = _bos_in_front()
        for special in (True, False):
            params = dataclasses.replace(PARAMS, chat=not special)
            expected = engine.tokenizer(PROMPTS, add_special_tokens=special)["input_ids"]
            engine.tokenizer.chat_template = None if special else "{{ messages[0]['content'] }}"
            assert engine._tokenise(PROMPTS, params) == expected
    path = tmp_path / "base" / "tokenizer.json"
    record = json.loads(path.read_text())
    record["truncation"] = {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    path.write_text(json.dumps(record))
    engine = InProcessEngine(read_pool(tiny), device="cpu")
    assert [len(row) for row in engine._tokenise(PROMPTS, PARAMS)] == [len(prompt.split()) for prompt in PROMPTS]


def test_a_small_model_has_one_thread_and_all_others_keep_theirs(tmp_path, monkeypatch):
    engine = InProcessEngine(read_pool(make_pool(tmp_path)), device="cpu")
    forward, seen = engine.decoder.model.forward, []

    def noting(**given):
        seen.append(torch.get_num_threads())
        return forward(**given)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.setattr(engine.decoder.model, "forward", noting)
        list(engine.generate(requests_of(engine.pool)))
        assert set(seen) == {1} and torch.get_num_threads() == 2
        monkeypatch.setattr(engine.decoder.core._threads, "_small", False)
        list(engine.generate(requests_of(engine.pool)))
        assert set(seen) == {1, 2}
    finally:
        torch.set_num_threads(before)


def test_it_is_known_whether_an_answer_was_cut(tmp_path):
    """Also of an answer whose end token is the last one that it might have."""
    pool = read_pool(make_pool(tmp_path))
    engine = InProcessEngine(pool, device="cpu")
    long = [dataclasses.replace(request, params=GenerationParams(40)) for request in requests_of(pool)]
    ended = [one for one in answers_of(engine, long) if not one.cut]
    assert ended, "some end by themselves"
    for request, whole in zip(long, answers_of(engine, long), strict=True):
        assert whole.new_tokens == 40 or not whole.cut
        if whole.cut or whole.new_tokens < 2:
            continue
        for tokens, cut in ((whole.new_tokens, False), (whole.new_tokens - 1, True)):
            shorter = dataclasses.replace(request, params=GenerationParams(tokens))
            [(_, again)] = [one for part in engine.generate([shorter]) for one in part]
            assert again.cut is cut and again.new_tokens == tokens


def test_a_conversation_is_put_into_the_template_and_keyed_by_it(tmp_path):
    directory = make_pool(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    marks = "{{ 'yes ' if m.role == 'user' else 'no ' }}"
    tokenizer.chat_template = f"{{% for m in messages %}}{{{{ m.content }}}} {marks}{{% endfor %}}"
    tokenizer.save_pretrained(tmp_path / "base")
    pool = read_pool(directory)
    engine, chat = InProcessEngine(pool, device="cpu"), GenerationParams(6, chat=True)
    expert = pool.experts()[0]
    turns = (("red", "green"), ("blue", "one"))
    told = Request(expert, "two", chat, turns)
    [(_, answer)] = [one for part in engine.generate([told]) for one in part]
    whole = "red yes green no blue yes one no two yes"
    assert engine._tokenise(["two"], chat, turns) == [engine.tokenizer(whole)["input_ids"]]
    plain = Request(expert, whole, GenerationParams(6))
    [(_, same)] = [one for part in engine.generate([plain]) for one in part]
    assert answer.text == same.text
    both = [one for part in engine.generate([told, Request(expert, "two", chat)]) for one in part]
    assert dict(both)[0] == answer, "beside a request without a history"
    cache = CompletionCache(engine.facts())
    assert len({cache.key(Request(expert, "two", chat, own)) for own in ((), turns, turns[:1])}) == 3
    assert tells_history(engine.tokenizer, chat) and not tells_history(engine.tokenizer, GenerationParams(6))


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[-1].content }}",  # the last turn only
        "{% if messages | length > 1 %}{{ raise_exception('one turn') }}{% endif %}{{ messages[0].content }}",
        "{% for m in messages | reverse %}{{ m.content }} {% endfor %}",
    ],
)
def test_a_template_that_has_no_earlier_turns(tmp_path, template):
    make_pool(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    tokenizer.chat_template = template
    assert not tells_history(tokenizer, GenerationParams(6, chat=True))
