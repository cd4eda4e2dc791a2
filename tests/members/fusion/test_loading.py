"""Models read as far as their tokens go."""

import pytest
import torch
from fusing import tiny_llama
from kinds_of_tokenizers import byte_level_bpe
from safetensors.torch import load_file, save_file
from tiny import make_base
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

from swarm.errors import UserError
from swarm.members.fusion import loading
from swarm.members.fusion.loading import ModelSource, load_lexicon, load_stepped_model


@pytest.fixture
def no_model(monkeypatch):
    """No model is loaded whole."""
    for kind in (loading.AutoModelForCausalLM, loading.AutoModelForSeq2SeqLM):
        monkeypatch.setattr(kind, "from_pretrained", lambda *_, **__: pytest.fail("the whole model is loaded"))


def saved(folder, shards=None):
    tokenizer = byte_level_bpe()
    model = tiny_llama(tokenizer, 0)
    model.save_pretrained(folder, **({"max_shard_size": shards} if shards else {}))
    tokenizer.save_pretrained(folder)
    return model.get_input_embeddings().weight.detach()


@pytest.mark.parametrize("shards", [None, "50KB"])
def test_embeddings_are_read_alone(tmp_path, no_model, shards):
    embeddings = saved(tmp_path, shards)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1 or shards
    found = load_lexicon("one", ModelSource(str(tmp_path)))
    assert torch.equal(found.embeddings, embeddings) and found.name == "one"
    assert found.tokenizer("the")["input_ids"]


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "gemma"])
def test_of_other_families(tmp_path, family):
    folder = make_base(tmp_path, family=family)
    wanted = AutoModelForCausalLM.from_pretrained(folder).get_input_embeddings().weight
    assert torch.equal(load_lexicon("one", ModelSource(str(folder))).embeddings, wanted)


def test_names_of_the_bare_model_and_names_that_nobody_knows(tmp_path, no_model, monkeypatch):
    embeddings = saved(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    bare = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    save_file(bare, tmp_path / "model.safetensors", {"format": "pt"})
    assert torch.equal(load_lexicon("one", ModelSource(str(tmp_path))).embeddings, embeddings)
    monkeypatch.undo()
    bare["other"] = bare.pop("embed_tokens.weight")
    save_file(bare, tmp_path / "model.safetensors", {"format": "pt"})
    found = load_lexicon("one", ModelSource(str(tmp_path))).embeddings  # as transformers makes it: new
    assert found.shape == embeddings.shape


def test_an_encoder_decoder(tmp_path):
    tokenizer = byte_level_bpe()
    end = tokenizer.eos_token_id
    sizes = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4}
    T5ForConditionalGeneration(
        T5Config(vocab_size=len(tokenizer), decoder_start_token_id=end, eos_token_id=end, pad_token_id=end, **sizes)
    ).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    wanted = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).get_input_embeddings().weight
    assert torch.equal(load_lexicon("t5", ModelSource(str(tmp_path))).embeddings, wanted)
    loaded = load_stepped_model(ModelSource(str(tmp_path)), [torch.device("cpu")], torch.float32)
    assert loaded.stepper.separate_prompt


def test_what_cannot_be_loaded_is_said_with_its_place(tmp_path):
    source = ModelSource(str(tmp_path), named_in="in the config")
    with pytest.raises(UserError, match="has no config.json; .* named in the config"):
        load_lexicon("one", source)
    saved(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    for load in (
        lambda: load_lexicon("one", source),
        lambda: load_stepped_model(source, [torch.device("cpu")], torch.float32),
    ):
        with pytest.raises(UserError, match=r"cannot be loaded \(.*\): fetch it again, or name another in the config"):
            load()
