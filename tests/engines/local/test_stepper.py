"""Rows that are stepped side by side or one by one against the same model without any cache, one row at a time."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from families import APART, ENCODER_DECODERS, ONE_BY_ONE, SIDE_BY_SIDE, VOCABULARY, model_of
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from swarm.engines.local import token_core
from swarm.engines.local.ragged_stepper import RaggedStepper
from swarm.engines.local.row_stepper import RowStepper
from swarm.engines.local.shared_prefixes import common_prefix
from swarm.engines.local.stepper import make_stepper
from swarm.errors import UserError

exact_model = partial(model_of, dtype=torch.float64)
LENGTHS = (3, 30, 11, 1, 20, 11)


@torch.no_grad()
def alone(model, tokens):
    return model(torch.tensor([tokens]), use_cache=False).logits[0, -1]


def truth(model, rows):
    return torch.stack([alone(model, row) for row in rows])


def random_rows(seed, lengths=LENGTHS):
    rng = np.random.default_rng(seed)
    return [rng.integers(3, VOCABULARY, size=length).tolist() for length in lengths]


def check(stepper, model, rows):
    """`rows` is row -> its tokens."""
    found = stepper.logits(list(rows))
    assert found.dtype == torch.float32 and not found.requires_grad
    torch.testing.assert_close(found, truth(model, rows.values()).float(), **APART[model.dtype])
    assert [stepper.tokens(row) for row in rows] == list(rows.values())


@pytest.mark.parametrize("chunk", [8, 512])
@pytest.mark.parametrize("family", [*SIDE_BY_SIDE, *ONE_BY_ONE])
def test_a_batch_gives_what_each_row_gives_alone(family, chunk, monkeypatch):
    """Ragged prompts, further tokens, crops, rewritten ends, subsets in any order, rows that leave."""
    monkeypatch.setitem(token_core.CHUNKS, "cpu", chunk)
    model = exact_model(family)
    stepper = make_stepper(model)
    assert type(stepper) is (RaggedStepper if family in SIDE_BY_SIDE else RowStepper)
    rows = dict(enumerate(random_rows(0)))
    stepper.open(list(rows.values()), room=4)
    check(stepper, model, rows)
    for step in range(3):
        for row in rows:
            stepper.append(row, 3 + (row + step) % 7)
            rows[row].append(3 + (row + step) % 7)
        check(stepper, model, rows)
    check(stepper, model, rows)  # again, without a new token
    rows[1] = [*rows[1][:17], 5, 6, 7, 8]
    rows[4] = rows[4][:9]
    rows[5] = [9, 8, 7]
    for row in (1, 4, 5):
        stepper.replace(row, rows[row])
    check(stepper, model, {row: rows[row] for row in (4, 1)})
    for row in (0, 4):
        stepper.drop(row)
        del rows[row]
    for row in rows:
        stepper.append(row, 4)
        rows[row].append(4)
    check(stepper, model, {row: rows[row] for row in (5, 1, 3, 2)})
    stepper.open([[7, 7]], room=1)
    check(stepper, model, {0: [7, 7]})


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["append", "replace", "drop", "logits"]), st.integers(0, 99), st.integers(0, 40)),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["llama", "gemma2", "gpt2"]), st.integers(0, 999), st.integers(1, 6), OPERATIONS)
def test_any_sequence_of_calls(family, seed, count, operations):
    model, rng = exact_model(family), np.random.default_rng(seed)
    stepper = make_stepper(model)
    rows = dict(enumerate(random_rows(seed, rng.integers(1, 25, size=count))))
    stepper.open(list(rows.values()), room=2)
    for what, which, size in operations:
        if not rows:
            break
        row = sorted(rows)[which % len(rows)]
        new = rng.integers(3, VOCABULARY, size=1 + size % 7).tolist()
        if what == "append":
            stepper.append(row, new[0])
            rows[row] = [*rows[row], new[0]]
        elif what == "replace":
            rows[row] = [*rows[row][:size], *new]
            stepper.replace(row, rows[row])
        elif what == "drop":
            stepper.drop(row)
            del rows[row]
        else:
            some = rng.permutation(sorted(rows))[: 1 + size % len(rows)].tolist()
            check(stepper, model, {row: rows[row] for row in some})
    if rows:
        check(stepper, model, rows)
    else:
        assert stepper.logits([]).shape[0] == 0


def test_nothing_is_read_twice():
    model, rows = model_of("llama"), random_rows(0)
    stepper = make_stepper(model)
    stepper.open(rows, room=8)
    stepper.logits(range(6))
    assert stepper.read == sum(LENGTHS)
    for row in range(6):
        stepper.append(row, 5)
    stepper.logits(range(6))
    stepper.replace(1, [*rows[1][:28], 4, 4, 4])
    stepper.logits([1])
    assert stepper.read == sum(LENGTHS) + 6 + 3


def test_shared_beginnings_are_read_once():
    model, beginning = exact_model("llama"), random_rows(1, [150])[0]
    rows = [beginning + row for row in random_rows(2, [3, 9, 1, 5])] + random_rows(3, [20])
    stepper = make_stepper(model)
    stepper.open(rows, room=3)
    check(stepper, model, dict(enumerate(rows)))
    assert stepper.read == 150 + 3 + 9 + 1 + 5 + 20


def test_memory_is_kept_grows_and_is_given_back():
    model, rows = model_of("llama"), random_rows(0)
    stepper = make_stepper(model)
    stepper.open(rows, room=4)
    stepper.logits(range(6))
    held = stepper.bytes()
    # layers, keys and values, rows, columns, heads, width, float32
    assert held == 2 * 2 * 6 * (30 + 4 + 1) * 2 * 4 * 4
    stepper.open(rows[:3], room=4)
    stepper.logits(range(3))
    assert stepper.bytes() == held
    longer = [*rows[1], *random_rows(8, [60])[0]]
    stepper.replace(1, longer)
    check(stepper, model, {0: rows[0], 1: longer, 2: rows[2]})
    stepper.close()
    assert stepper.bytes() == 0
    stepper.open(rows, room=4)
    check(stepper, model, dict(enumerate(rows)))


def test_eager_attention_and_half_precision():
    model = exact_model("gemma2", attn_implementation="eager")
    rows, stepper = random_rows(0), make_stepper(model)
    assert isinstance(stepper, RaggedStepper)
    stepper.open(rows, room=1)
    check(stepper, model, dict(enumerate(rows)))
    half = model_of("llama", 1, dtype=torch.bfloat16)
    stepper = make_stepper(half)
    stepper.open(rows, room=1)
    found = stepper.logits(range(6))
    assert found.dtype == torch.float32 and found.isfinite().all()
    assert (found - truth(half, rows)).abs().median() < 0.05


def test_a_row_without_numbers_leaves_none_to_the_row_that_takes_its_place():
    model = copy.deepcopy(exact_model("llama"))
    model.get_input_embeddings().weight.data[7] = torch.nan
    rows, stepper = [[7] * 9, [3, 4, 5] * 6, [5, 6]], make_stepper(model)
    stepper.open(rows, room=4)
    assert stepper.logits([0, 1, 2]).isnan().all(-1).tolist() == [True, False, False]
    stepper.drop(0)
    for row in (1, 2):
        stepper.append(row, 4)
    check(stepper, model, {1: [*rows[1], 4], 2: [*rows[2], 4]})


def test_rotary_positions_that_depend_on_the_longest_row():
    """Side by side below the length where they begin to, else one by one, and exact on both sides of it."""
    model = exact_model("phi3-long")
    assert isinstance(make_stepper(model, longest=13), RowStepper)
    stepper = make_stepper(model, longest=12)
    assert isinstance(stepper, RaggedStepper)
    rows = random_rows(0, [9, 4])
    stepper.open(rows, room=3)
    check(stepper, model, dict(enumerate(rows)))
    with pytest.raises(UserError, match="a row of 13 tokens, new ones included, exceeds the 12 positions of the phi3"):
        stepper.open(rows, room=4)


def test_models_that_no_mask_of_ours_fits_are_stepped_one_by_one():
    chunked = AutoConfig.for_model(
        "llama4_text", vocab_size=24, hidden_size=16, intermediate_size=32, intermediate_size_mlp=32,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=4, num_local_experts=2,
        attention_chunk_size=6, layer_types=["chunked_attention", "full_attention"],
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(chunked, dtype=torch.float64).eval()
    stepper, rows = make_stepper(model), random_rows(0)
    assert isinstance(stepper, RowStepper)
    stepper.open(rows, room=2)
    check(stepper, model, dict(enumerate(rows)))
    stepper.append(0, 5)
    check(stepper, model, {0: [*rows[0], 5]})


@torch.no_grad()
def seq2seq_alone(model, prompt, target):
    return model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([target])).logits[0, -1]


@pytest.mark.parametrize("forced", [None, 17])
@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_encoder_decoders(family, forced):
    model, prompts = exact_model(family), random_rows(4, [7, 12])
    stepper = make_stepper(model, forced_bos_token_id=forced)
    assert isinstance(stepper, RowStepper) and stepper.separate_prompt
    start = [model.config.decoder_start_token_id] + [forced] * (forced is not None)
    targets = [[], []]

    def check_both():
        found = stepper.logits([1, 0])
        expected = [seq2seq_alone(model, prompts[row], start + targets[row]) for row in (1, 0)]
        torch.testing.assert_close(found, torch.stack(expected).float(), **APART[model.dtype])
        assert stepper.tokens(1) == prompts[1] + targets[1]

    stepper.open(prompts, room=8)
    check_both()
    for token in (5, 9, 4):
        for row in (0, 1):
            stepper.append(row, token + row)
            targets[row].append(token + row)
        check_both()
    read = stepper.read
    targets[1] = [*targets[1][:1], 8, 8, 7]
    stepper.replace(1, prompts[1] + targets[1])
    check_both()
    assert stepper.read == read + 3 + 1, "the end of one row, and the other's last token again"
    with pytest.raises(ValueError, match="row 1 does not begin with the prompt"):
        stepper.replace(1, [9, *prompts[1]])
    assert stepper.bytes() > 0
    stepper.close()
    assert stepper.bytes() == 0


def test_greedy_translation_equals_generate():
    model, prompts = model_of("m2m_100"), random_rows(5, [7, 12])
    stepper = make_stepper(model, forced_bos_token_id=17)
    stepper.open(prompts, room=8)
    for _ in range(6):
        for row, token in enumerate(stepper.logits([0, 1]).argmax(-1).tolist()):
            stepper.append(row, token)
    for row, prompt in enumerate(prompts):
        answer = model.generate(
            torch.tensor([prompt]), forced_bos_token_id=17, max_new_tokens=7, num_beams=1, eos_token_id=None
        )[0].tolist()
        assert answer == [1, 17, *stepper.tokens(row)[len(prompt) :]]


def test_wrong_calls():
    stepper = make_stepper(model_of("gpt2"))
    with pytest.raises(UserError, match="a row of 97 tokens, new ones included, exceeds the 96 positions of the gpt2"):
        stepper.open([[3] * 90], room=7)
    stepper.open([[3] * 90, [4]], room=6)
    for token in range(6):
        stepper.append(0, token)
    with pytest.raises(UserError, match="a row of 97 tokens"):
        stepper.append(0, 5)
    stepper.drop(0)
    for call in (lambda: stepper.logits([0]), lambda: stepper.append(0, 1), lambda: stepper.drop(2)):
        with pytest.raises(ValueError, match=r"row [02] is not open"):
            call()
    with pytest.raises(ValueError, match="name one of them twice"):
        stepper.logits([1, 1])
    with pytest.raises(ValueError, match="at least one token"):
        stepper.replace(1, [])
    with pytest.raises(ValueError, match=r"adapters \[0\] for 1 rows, wanted one each, from -1"):
        stepper.open([[3]], 1, adapters=[0])
    with pytest.raises(UserError, match="forced_bos_token_id 5 is for encoder-decoders, but gpt2 is none"):
        make_stepper(model_of("gpt2"), forced_bos_token_id=5)
    for family in ("opt", "marian"):
        stepper = make_stepper(model_of(family))
        with pytest.raises(UserError, match=r"exceeds the (96|64) positions"):
            stepper.open([[3] * 97], room=1)


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_common_prefix(one, other):
    length = common_prefix(one, other)
    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]
