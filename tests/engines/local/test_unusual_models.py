"""Models that look at other rows, at padding or at columns: a text depends on its own prompt only."""

import numpy as np
import pytest
import torch
from families import APART
from transformers import AutoConfig, AutoModelForCausalLM

from swarm.engines.local.decoder import Decoder
from swarm.engines.local.decoder_choice import make_decoder
from swarm.engines.local.long_rows import LongRowsAlone
from swarm.engines.local.plain_generate import PlainGenerate
from swarm.engines.local.positions import learned_positions, scaled_by_length
from swarm.engines.local.row_stepper import RowStepper
from swarm.engines.local.stepper import make_stepper
from swarm.engines.local.token_budget import measured_token_budget

VOCABULARY = 24
LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 32,
    "initializer_range": 0.6,
    "pad_token_id": 0,
}
SCALED = {
    "dynamic": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10_000.0},
    "longrope": {
        "rope_type": "longrope",
        "factor": 4.0,
        "rope_theta": 10_000.0,
        "short_factor": [1.0] * 2,
        "long_factor": [4.0] * 2,
        "original_max_position_embeddings": 32,
    },
}
NEO = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_layers": 2, "attention_types": [[["global", "local"], 1]],
       "num_heads": 2, "window_size": 8, "initializer_range": 0.6, "max_position_embeddings": 256}  # fmt: skip
RWKV = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16,
        "intermediate_size": 32, "context_length": 256}  # fmt: skip
OPT = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32,
       "word_embed_proj_dim": 16, "max_position_embeddings": 64}  # fmt: skip


def model_of(family, **options):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **options)).eval()
    model.generation_config.eos_token_id = [1, 6, 7, 8]
    return model


def random_rows(count, shortest, longest, prefix=0):
    rng = np.random.default_rng(0)
    beginning = rng.integers(9, VOCABULARY, size=prefix).tolist()
    lengths = rng.integers(shortest, longest, size=count)
    return [beginning + rng.integers(9, VOCABULARY, size=int(length)).tolist() for length in lengths]


def decoded(decoder, rows, new):
    pairs = [pair for answers in decoder.decode(rows, new) for pair in answers]
    assert sorted(index for index, _ in pairs) == list(range(len(rows)))
    return [answer for _, answer in sorted(pairs)]


def generated_alone(make_model, rows, new):
    """By transformers' `generate`, for every row with a model that has read nothing before."""
    answers = []
    for row in rows:
        mask = torch.ones(1, len(row), dtype=torch.long)
        output = make_model().generate(
            torch.tensor([row]), attention_mask=mask, do_sample=False, max_new_tokens=new, pad_token_id=0
        )
        answers.append(output[0, len(row) :].tolist())
    return answers


@pytest.mark.parametrize("kind", SCALED)
def test_positions_that_look_at_the_longest_row_see_one_row_only(kind):
    def fresh():
        return model_of("llama", **LLAMA, rope_parameters=dict(SCALED[kind]))

    rows = random_rows(24, 2, 60)
    expected = generated_alone(fresh, rows, 8)
    decoder = make_decoder(fresh(), 0, 10_000)
    assert isinstance(decoder, LongRowsAlone) and isinstance(decoder.short, Decoder)
    for _ in range(2):  # a long row before leaves no trace
        assert decoded(decoder, rows, 8) == expected
        assert decoded(decoder, rows[::-1], 8) == expected[::-1]


@pytest.mark.parametrize("kind", SCALED)
def test_rows_that_are_stepped_see_no_longer_one(kind):
    def fresh():
        return model_of("llama", **LLAMA, rope_parameters=dict(SCALED[kind]))

    @torch.no_grad()
    def alone(row):
        return fresh()(input_ids=torch.tensor([row])).logits[0, -1]

    model, rows = fresh(), [row[:length] for row, length in zip(random_rows(4, 60, 61), (60, 40, 32, 9), strict=True)]
    stepper = make_stepper(model)
    assert isinstance(stepper, RowStepper)
    stepper.open(rows, 2)
    torch.testing.assert_close(stepper.logits(range(4)), torch.stack(list(map(alone, rows))), **APART[torch.float32])
    stepper.replace(0, rows[0][:50])
    torch.testing.assert_close(stepper.logits([0])[0], alone(rows[0][:50]), **APART[torch.float32])
    stepper.close()
    with torch.no_grad():
        read = model(input_ids=torch.tensor([rows[1]])).logits[0, -1]
    torch.testing.assert_close(read, alone(rows[1]), **APART[torch.float32])


def test_short_rows_of_such_a_model_go_together(monkeypatch):
    model = model_of("llama", **LLAMA, rope_parameters=SCALED["longrope"])
    decoder = make_decoder(model, 0, 10_000)
    core, shapes, forward = decoder.short.core, [], decoder.short.core.forward
    monkeypatch.setattr(core, "forward", lambda ids, *rest: shapes.append(len(ids)) or forward(ids, *rest))
    decoded(decoder, random_rows(9, 2, 20), 8)
    assert shapes[0] == 9 and decoder.rows == 9
    decoder.token_budget = 7
    assert decoder.short.token_budget == 7
    assert measured_token_budget(decoder, torch.device("cpu")) > 100
    decoder.release()


def test_from_where_on_positions_depend_on_the_batch():
    assert scaled_by_length(model_of("llama", **LLAMA)) is None
    assert scaled_by_length(model_of("llama", **LLAMA, rope_parameters=SCALED["dynamic"])) == 32
    longer = LLAMA | {"max_position_embeddings": 128}
    assert scaled_by_length(model_of("llama", **longer, rope_parameters=SCALED["longrope"])) == 32


def test_windows_that_only_the_config_tells_of():
    """GPT-Neo's local layers look back over columns, so rows must lie side by side: that is left to `generate`."""
    rows = random_rows(20, 2, 25, prefix=40)
    decoder = make_decoder(model_of("gpt_neo", **NEO), 0, 10_000)
    assert isinstance(decoder, PlainGenerate)
    assert decoded(decoder, rows, 10) == generated_alone(lambda: model_of("gpt_neo", **NEO), rows, 10)


def test_a_model_that_reads_padding_gets_none():
    model = model_of("rwkv", **RWKV)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    rows = random_rows(12, 2, 25)
    decoder = make_decoder(model, 0, 10_000)
    assert isinstance(decoder, PlainGenerate) and decoder.one_by_one
    assert decoded(decoder, rows, 8) == generated_alone(lambda: model, rows, 8)


@pytest.mark.parametrize(
    "settings",
    [{"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}, {"min_length": 30}],
    ids=lambda settings: "+".join(settings),
)
def test_beams_and_least_lengths_of_a_model_s_own_are_not_greedy(settings):
    plain, model = model_of("llama", **LLAMA), model_of("llama", **LLAMA)
    rows = random_rows(10, 2, 20)
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    expected = generated_alone(lambda: plain, rows, 8)
    assert decoded(make_decoder(model, 0, 10_000), rows, 8) == expected
    # where something else keeps the model from being stepped
    for one in (plain, model):
        one.generation_config.repetition_penalty = 1.7
    expected = generated_alone(lambda: plain, rows, 8)
    decoder = make_decoder(model, 0, 10_000)
    assert isinstance(decoder, PlainGenerate) and decoded(decoder, rows, 8) == expected


def test_a_penalty_on_the_prompt_s_tokens_does_not_fall_on_padding():
    model, rows = model_of("llama", **LLAMA), random_rows(12, 2, 20)
    model.generation_config.encoder_repetition_penalty = 1.5
    model.generation_config.eos_token_id = 0  # which pads, too
    assert decoded(make_decoder(model, 0, 10_000), rows, 8) == generated_alone(lambda: model, rows, 8)


def test_learned_positions_end():
    assert learned_positions(model_of("opt", **OPT)) == 64
    assert learned_positions(model_of("gpt_neo", **NEO)) == 256
    assert learned_positions(model_of("llama", **LLAMA)) is None
    model, rows = model_of("opt", **OPT), [[5] * 60]
    assert len(decoded(make_decoder(model, 0, 10_000), rows, 4)[0]) >= 1, "64 do fit"
