"""Models whose rows take notice of each other are found out by asking them, and then asked one prompt at a time."""

import pytest
import torch
from families import ONE_BY_ONE, SIZES
from transformers import AutoConfig, AutoModelForCausalLM

from swarm.engines.local import neighbours
from swarm.engines.local.decoder_choice import make_decoder
from swarm.engines.local.plain_generate import PlainGenerate

PARTS = {
    "vocab_size": 24, "d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
    "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "init_std": 0.6, "is_decoder": True,
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
LEARNED = ("bart", "mbart", "marian", "pegasus", "plbart", "blenderbot-small", "trocr", "mvp", "whisper")
ROWS = [[5, 9], [4, 8, 15, 16, 23, 7, 6], [3], [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21]]


def model_of(family, **fields):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **fields)).eval()


def alone(model, row, new):
    given = torch.tensor([row])
    output = model.generate(given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=new)
    answer = output[0, len(row) :].tolist()
    return answer[: answer.index(1) + 1] if 1 in answer else answer


@pytest.mark.parametrize("family", LEARNED)
def test_positions_that_count_padding(family):
    """The decoders of encoder-decoders alone: their positions are places in the row, padding included."""
    model = model_of(family, **PARTS)
    decoder = make_decoder(model, 0, 10_000)
    assert isinstance(decoder, PlainGenerate) and decoder.one_by_one
    found = dict(pair for part in decoder.decode(ROWS, 5) for pair in part)
    assert found == {index: alone(model, row, 5) for index, row in enumerate(ROWS)}


@pytest.mark.parametrize("family", ["bloom", "mpt"])
def test_rows_that_are_apart_stay_in_batches(family):
    decoder = make_decoder(model_of(family, **ONE_BY_ONE[family]), 0, 10_000)
    assert isinstance(decoder, PlainGenerate) and not decoder.one_by_one


def test_what_takes_no_batch_is_asked_alone(monkeypatch):
    model = model_of("llama", **SIZES)
    assert neighbours.rows_are_apart(model, model.generation_config)

    def refuse(model, settings, rows):
        if len(rows) > 1:
            raise ValueError("one row at a time")
        return torch.zeros(1, 24)

    monkeypatch.setattr(neighbours, "_logits", refuse)
    assert not neighbours.rows_are_apart(model, model.generation_config)
