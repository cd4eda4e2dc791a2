"""Whether experts fit a base is told without its weights exactly as loading it tells."""

import shutil
from pathlib import Path

import pytest
from families import ONE_BY_ONE, SIDE_BY_SIDE, VOCABULARY, model_of
from tiny import FAMILIES, make_base, make_pool
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from swarm.engines.local.base_checks import check_base
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.errors import UserError
from swarm.weights.pool import read_pool


def told(act):
    """What is refused; "" where nothing is."""
    try:
        act()
    except UserError as error:
        return str(error)
    return ""


def told_twice(directory, base=None, dtype=None, fold=None):
    """Without weights, and by an engine."""
    seen = told(lambda: check_base(read_pool(directory, base, preview=True), None, dtype, fold, False))
    pool = read_pool(directory, base)
    return seen, told(lambda: InProcessEngine(pool, dtype=dtype, fold=fold, token_budget=1000))


@pytest.mark.parametrize("lora", [{}, {"use_dora": True}, {"target_modules": "all-linear"}], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters(tmp_path, family, lora):
    experts = make_pool(tmp_path, 2, family, **lora)
    for dtype, fold in ((None, None), ("bfloat16", None), (None, False), ("bfloat16", True)):
        assert told_twice(experts, dtype=dtype, fold=fold) == ("", "")
    other = make_base(tmp_path / "other", family="llama" if family == "gpt2" else "gpt2")
    seen, loaded = told_twice(experts, str(other))
    assert seen == loaded != "" and "does not have" in seen


def test_adapters_of_embeddings(tmp_path):
    experts = make_pool(tmp_path, 2, target_modules=["embed_tokens", "q_proj"])
    assert told_twice(experts) == ("", "")
    seen, loaded = told_twice(experts, fold=True)
    assert seen == loaded != ""


@pytest.mark.parametrize("family", [*SIDE_BY_SIDE, *ONE_BY_ONE])
def test_full_models(tmp_path, family):
    words = Tokenizer(WordLevel({f"w{index}": index for index in range(VOCABULARY)}, unk_token="w3"))
    for seed in range(2):
        folder = tmp_path / "experts" / f"expert_{seed}"
        model_of(family, seed).save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", eos_token="w1").save_pretrained(folder)
    assert told_twice(tmp_path / "experts") == ("", "")
    shutil.copytree(tmp_path / "experts" / "expert_0", tmp_path / "base")
    assert told_twice(tmp_path / "experts", str(tmp_path / "base")) == ("", "")
    for path in Path(tmp_path / "base").glob("*.safetensors"):
        path.unlink()
    seen, loaded = told_twice(tmp_path / "experts", str(tmp_path / "base"))
    assert seen == loaded and "base model" in seen and "cannot be loaded" in seen


def test_code_of_a_model_s_own_is_not_run(tmp_path):
    experts = make_pool(tmp_path, 2)
    config = tmp_path / "base" / "config.json"
    config.write_text(config.read_text().replace("{", '{"auto_map": {"AutoModelForCausalLM": "mine.Mine"},', 1))
    (tmp_path / "base" / "mine.py").write_text("raise SystemExit('was run')")
    said = check_base(read_pool(experts, preview=True), None, None, None, own_code=True)
    assert "brings code of its own, which only a search runs" in said
