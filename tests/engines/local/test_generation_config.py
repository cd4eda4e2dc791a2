"""What comes with a base beside its weights: generation settings, padding, chat templates of strangers."""

import json
import threading
import time

import pytest
import torch
from answers import answers_of
from tiny import make_pool
from transformers import GenerationConfig

from swarm.engines.base import GenerationParams, Request
from swarm.engines.local.decoder import Decoder
from swarm.engines.local.generation_settings import changes_answers, greedy, stopped, unfollowed
from swarm.engines.local.pretrained import padding_of
from swarm.engines.local.time_limit import EndlessError, ended_after
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.errors import UserError
from swarm.weights.pool import read_pool

PARAMS = GenerationParams(max_new_tokens=6)
PROMPTS = ["what is red", "is two blue yes no one", "no"]


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def texts(pool, params=PARAMS):
    pool = read_pool(pool)
    requests = [Request(pool.experts()[0], prompt, params) for prompt in PROMPTS]
    engine = InProcessEngine(pool, device="cpu")
    return answers_of(engine, requests), engine


@pytest.fixture
def place(tmp_path):
    """A pool, its base's folder, and its plain answers."""
    pool = make_pool(tmp_path)
    base = next(folder for folder in tmp_path.rglob("generation_config.json")).parent
    return pool, base, [completion.text for completion in texts(pool)[0]]


@pytest.mark.parametrize(
    "settings",
    [
        {"return_dict_in_generate": True, "output_scores": True},
        {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "guidance_scale": 1.0},
        {"prompt_lookup_num_tokens": 3, "num_beams": 4, "early_stopping": True, "length_penalty": 2.0},
        {"do_sample": True, "temperature": 2.0, "top_k": 3, "top_p": 0.1, "min_p": 0.2},
        {"max_length": 3, "min_length": 40, "cache_implementation": "static", "bad_words_ids": []},
    ],
)
def test_settings_that_change_no_greedy_answer_cost_nothing(place, settings):
    pool, base, plain = place
    change(base / "generation_config.json", **settings)
    found, engine = texts(pool)
    assert [completion.text for completion in found] == plain and isinstance(engine.decoder, Decoder)


@pytest.mark.parametrize("settings", [{"penalty_alpha": 0.6, "top_k": 4}, {"max_time": 0.001}, {"dola_layers": "high"}])
def test_what_is_not_followed_is_named(place, caplog, settings):
    pool, base, plain = place
    change(base / "generation_config.json", **settings)
    found, _ = texts(pool)
    assert [completion.text for completion in found] == plain
    name = next(iter(settings))
    assert f"has {name} {settings[name]}, which is not followed: answers are greedy" in caplog.text
    assert list(unfollowed(GenerationConfig(**settings))) == [name]


def test_a_penalty_is_followed():
    assert changes_answers(greedy(GenerationConfig(repetition_penalty=1.3), 0)) == {"repetition_penalty"}
    assert not changes_answers(greedy(GenerationConfig(do_sample=True, top_k=3, repetition_penalty=1.0), 0))


def test_an_answer_ends_at_a_stop_string_and_is_not_cut(place):
    pool, base, plain = place
    words = plain[0].split()
    change(base / "generation_config.json", stop_strings=[words[1]])
    found, _ = texts(pool)
    for completion, whole in zip(found, plain, strict=True):
        assert completion.text == stopped(whole, (words[1],))
    assert found[0].text.endswith(words[1]) and not found[0].was_cut(PARAMS)
    assert stopped("a b c b", ("c", "b")) == "a b" and stopped("a", ("", "x")) == "a"


@pytest.mark.parametrize("kind", ["none", "beyond"])
def test_padding_is_a_token_that_the_model_has(place, kind):
    pool, base, plain = place
    config = base / "tokenizer_config.json"
    record = json.loads(config.read_text())
    if kind == "none":
        record = {name: value for name, value in record.items() if not name.endswith("_token")}
    else:
        record |= {"pad_token": "[PAD]", "added_tokens_decoder": {"99": {"content": "[PAD]", "special": True}}}
        words = json.loads((base / "tokenizer.json").read_text())
        words["added_tokens"].append({"id": 99, "content": "[PAD]", "special": True, "single_word": False,
                                      "lstrip": False, "rstrip": False, "normalized": False})  # fmt: skip
        (base / "tokenizer.json").write_text(json.dumps(words))
    config.write_text(json.dumps(record))
    change(base / "generation_config.json", **({"pad_token_id": None} if kind == "none" else {}))
    found, engine = texts(pool)
    assert [completion.text for completion in found] == plain
    assert 0 <= padding_of(engine.tokenizer, engine.model) < engine.model.get_input_embeddings().weight.shape[0]


def in_chat(pool, base, template):
    change(base / "tokenizer_config.json", chat_template=template)
    return texts(pool, GenerationParams(6, chat=True))


def test_a_template_of_parts_gets_its_question(place):
    pool, base, _ = place
    as_text = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
    as_parts = (
        "{% for m in messages %}{{ m.role }} {% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}"
        "{% endfor %} {% endfor %}"
    )
    wanted, found = (in_chat(pool, base, template)[0] for template in (as_text, as_parts))
    assert found == wanted and len({completion.text for completion in found}) > 1


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no system message') }}", "no system message"),
        ("{{ messages[7].content }}", "no element 7"),
        ("always the same", "the question is not in what it writes"),
        ("{{ 1 / 0 }}{{ messages[0].content }}", "division by zero"),
        ("{% if %}", "Expected an expression"),
    ],
)
def test_a_template_that_cannot_be_used_is_told_in_a_line(place, template, reason):
    pool, base, _ = place
    with pytest.raises(UserError) as told:
        in_chat(pool, base, template)
    message = str(told.value)
    assert "the chat template of " in message and reason in message and "--chat 0 does without" in message
    assert "\n" not in message
    assert texts(pool)[0], "the cure"


def test_code_that_does_not_end_is_ended():
    def count():
        number = 0
        while True:
            number += 1

    def limited(found):
        try:
            with ended_after(0.05):
                count()
        except EndlessError as error:
            found.append(str(error))

    found: list[str] = []
    limited(found)
    other = threading.Thread(target=limited, args=(found,))
    other.start()
    other.join(30)
    assert len(found) == 2 and "has not ended" in found[0]
    with ended_after(0.05):
        pass
    time.sleep(0.1)  # nothing comes later


def test_the_bare_base_is_bare_again_after_an_expert_with_embeddings_of_its_own(tmp_path):
    from peft import LoraConfig, get_peft_model
    from tiny import make_base
    from transformers import AutoModelForCausalLM

    base = make_base(tmp_path / "base")
    for number in range(2):
        torch.manual_seed(number)
        made = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(
            task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], init_lora_weights=False))  # fmt: skip
        made.get_input_embeddings().weight.data += torch.randn_like(made.get_input_embeddings().weight)
        made.peft_config["default"].base_model_name_or_path = str(base)
        made.save_pretrained(tmp_path / "experts" / f"e{number}", save_embedding_layers=True)
    pool = read_pool(tmp_path / "experts")
    engine = InProcessEngine(pool, device="cpu")
    bare = AutoModelForCausalLM.from_pretrained(base).get_input_embeddings().weight
    for expert in pool.experts():
        engine.load(expert)
        assert not torch.equal(engine.model.get_input_embeddings().weight, bare)
        engine.clear()
        assert torch.equal(engine.model.get_input_embeddings().weight, bare)


def test_positions_of_patches_of_images_are_no_limit():
    from torch import nn

    from swarm.engines.local.positions import learned_positions

    class Text(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.config = config

    class Config:
        def __init__(self, text=None):
            self._text = text or self

        def get_text_config(self):
            return self._text

    text = Config()
    model = nn.Module()
    model.config, model.language_model = Config(text), Text(text)
    model.tower = nn.Module()
    model.tower.position_embedding = nn.Embedding(16, 4)
    assert learned_positions(model) is None
    model.language_model.wpe = nn.Embedding(32, 4)
    assert learned_positions(model) == 32
