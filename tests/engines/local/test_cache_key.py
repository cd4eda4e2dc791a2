"""What decides a text stands in its key: the tokenizer's files, the way of decoding, and no day."""

import json
from datetime import datetime

import pytest
import transformers.utils.chat_template_utils as chat_templates
from answers import answers_of
from tiny import WORDS, make_pool
from transformers import AutoTokenizer

from swarm.engines.base import GenerationParams, Request
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.local import transformers_engine
from swarm.engines.local.chat_template import TODAY, on_a_fixed_day
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.errors import UserError
from swarm.weights.pool import read_pool

CHAT = GenerationParams(4, chat=True)
DATED = (
    "{%- if strftime_now is defined %}{% set day = '%d' %}{{ strftime_now(day) | replace('21', 'red') | "
    "replace('22', 'blue') | replace('26', 'green') }} {% endif %}"
    "{% for m in messages %}{{ m.content }} {% endfor %}yes"
)


def key_of(engine, params=CHAT):
    return CompletionCache(engine.facts()).key(Request(engine.pool.experts()[0], "what is red", params))


def test_a_template_that_tells_the_date_tells_the_same_every_day(tmp_path, monkeypatch):
    directory = make_pool(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    tokenizer.chat_template = DATED
    tokenizer.save_pretrained(tmp_path / "base")
    engine = InProcessEngine(read_pool(directory), device="cpu")
    for day in (21, 22):
        now = type("Then", (), {"now": staticmethod(lambda day=day: datetime(2026, 11, day))})
        monkeypatch.setattr(chat_templates, "datetime", now)
        rendered = engine._tokenise(["what is red"], CHAT)
        assert rendered == [[WORDS.index(word) for word in "green what is red yes".split()]]


def test_the_fixed_day_is_written_as_strftime_writes_it():
    compiled = chat_templates._compile_jinja_template
    for wanted in ("%d %b %Y", "%Y-%m-%d", "%A, %-d %B %Y, %H:%M:%S", "%F %T", "%B %e"):
        template = on_a_fixed_day(f"\n  {{{{ strftime_now('{wanted}') }}}}|")
        plain = f"\n  {TODAY.strftime(wanted)}|"
        assert compiled(template).render() == compiled(plain).render()
    assert on_a_fixed_day("{{ messages }}") == "{{ messages }}"


def bert_words(base, words):
    """The tokenizer of a folder as BERT's kind keeps it, with its words in vocab.txt alone."""
    for path in base.glob("*token*"):
        path.unlink()
    (base / "vocab.txt").write_text("\n".join(["[PAD]", "[SEP]", "[CLS]", "[UNK]", *words]) + "\n")
    special = {"pad_token": "[PAD]", "sep_token": "[SEP]", "cls_token": "[CLS]", "unk_token": "[UNK]"}
    config = {"tokenizer_class": "BertTokenizer", "mask_token": "[UNK]"} | special
    (base / "tokenizer_config.json").write_text(json.dumps(config))


def test_other_words_are_another_key(tmp_path):
    directory, keys = make_pool(tmp_path), set()
    for words in (WORDS[4:], WORDS[:3:-1]):
        bert_words(tmp_path / "base", words)
        keys.add(key_of(InProcessEngine(read_pool(directory), device="cpu")))
    assert len(keys) == 2


def test_files_that_only_the_tokenizer_s_class_names_and_further_templates(tmp_path):
    directory = make_pool(tmp_path)
    base = tmp_path / "base"
    from swarm.weights.base_model import base_model_digest

    (base / "odd.words").write_text("a")
    before = base_model_digest(base), base_model_digest(base, tokenizer_files=["odd.words"])
    (base / "odd.words").write_text("b")
    after = base_model_digest(base), base_model_digest(base, tokenizer_files=["odd.words"])
    assert before[0] == after[0] and before[1] != after[1]
    first = key_of(InProcessEngine(read_pool(directory), device="cpu"))
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates" / "tools.jinja").write_text("{{ messages }}")
    assert key_of(InProcessEngine(read_pool(directory), device="cpu")) != first


def test_the_way_of_decoding_and_the_libraries_stand_in_the_key(tmp_path, monkeypatch):
    engine = InProcessEngine(read_pool(make_pool(tmp_path)), device="cpu")
    facts, before = engine.facts(), key_of(engine)
    assert {"decoding", "torch", "transformers", "tokenizers", "peft"} <= set(facts)
    monkeypatch.setattr(transformers_engine, "DECODING", "another")
    assert key_of(engine) != before


def test_an_empty_prompt_is_told(tmp_path):
    engine = InProcessEngine(read_pool(make_pool(tmp_path)), device="cpu")
    for prompt in ("", "   "):
        with pytest.raises(UserError, match="a prompt is empty for the tokenizer of base model .*; wanted"):
            answers_of(engine, [Request(engine.pool.experts()[0], prompt, GenerationParams(3))])


def test_a_processor_s_memory_is_told_in_words_only(tmp_path, monkeypatch, caplog):
    engine = InProcessEngine(read_pool(make_pool(tmp_path)), device="cpu")
    requests = [Request(engine.pool.experts()[0], prompt, GenerationParams(5)) for prompt in ("red", "no no", "one")]
    whole, forward = answers_of(engine, requests), engine.decoder.core.forward

    def small_memory(ids, *rest):
        if len(ids) > 1:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
            )
        return forward(ids, *rest)

    monkeypatch.setattr(engine.decoder.core, "forward", small_memory)
    assert answers_of(engine, requests) == whole and engine.halvings
    monkeypatch.setattr(engine.decoder.core, "forward", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        answers_of(engine, requests)
