"""Decoding with the batched KV cache against transformers' own `generate`, one prompt at a time."""

import numpy as np
import pytest
import torch
from families import SIZES, VOCABULARY
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, BloomConfig, BloomForCausalLM

from swarm.engines.local import decoder, token_core
from swarm.engines.local.decoder import Decoder
from swarm.engines.local.decoder_choice import make_decoder
from swarm.engines.local.plain_generate import PlainGenerate
from swarm.engines.local.shared_prefixes import common_prefix, shared_prefixes

LEARNED = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128, "eos_token_id": 1,
           "bos_token_id": 1, "initializer_range": 0.6}  # fmt: skip
WINDOWS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES = {
    "llama": SIZES,
    "gemma": SIZES,
    "gpt2": LEARNED,
    "qwen3": SIZES,
    "mistral": SIZES | {"sliding_window": 8},
    "gemma2": SIZES | WINDOWS | {"tie_word_embeddings": False},
}


def model_of(family, seed=0, **options):
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family, **FAMILIES[family])
    model = AutoModelForCausalLM.from_config(config, **options).eval()
    model.generation_config.eos_token_id = [1, 6, 7, 8]  # so that answers end at different times
    return model


def one_by_one(model, rows, new):
    answers = []
    for row in rows:
        output = model.generate(torch.tensor([row]), do_sample=False, max_new_tokens=new, pad_token_id=0)
        answers.append(output[0, len(row) :].tolist())
    return answers


def decoded(decoder, rows, new):
    pairs = [pair for answers in decoder.decode(rows, new) for pair in answers]
    assert sorted(index for index, _ in pairs) == list(range(len(rows)))
    return [answer for _, answer in sorted(pairs)]


def random_rows(seed, count=30, longest=40, prefix=0):
    rng = np.random.default_rng(seed)
    beginning = rng.integers(3, VOCABULARY, size=prefix).tolist()
    lengths = rng.integers(2, longest, size=count)
    return [beginning + rng.integers(3, VOCABULARY, size=int(length)).tolist() for length in lengths]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("token_budget", [10_000, 400, 1])
def test_tokens_equal_generate_whatever_the_batches(family, token_budget, monkeypatch):
    monkeypatch.setitem(token_core.CHUNKS, "cpu", 64)
    model, rows = model_of(family), [*random_rows(0), *random_rows(1, 10, 12, prefix=15)]
    expected = one_by_one(model, rows, 12)
    lengths = {len(answer) for answer in expected}
    assert len(lengths) > 3, "answers should end at different times, or this shows little"
    decoder = make_decoder(model, 0, token_budget)
    assert isinstance(decoder, Decoder)
    assert decoded(decoder, rows, 12) == expected
    assert decoded(decoder, rows[::-1], 12) == expected[::-1], "a cache that was used before leaves no trace"


@pytest.fixture(scope="module")
def answered():
    """A model, and rows of any length and three beginnings with its answers of nine tokens."""
    model = model_of("llama", 3)
    rows = [row for size in (0, 9, 20) for row in random_rows(size, 60, 30, size)]
    return model, list(zip(rows, one_by_one(model, rows, 9), strict=True))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 75), st.integers(1, 9), st.integers(1, 900), st.integers(1, 80))
def test_any_mixture_of_lengths_beginnings_budgets_and_chunks(answered, seed, count, new, token_budget, chunk):
    model, known = answered
    some = [known[index] for index in np.random.default_rng(seed).permutation(len(known))[:count]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(token_core.CHUNKS, "cpu", chunk)
        found = decoded(make_decoder(model, 0, token_budget), [row for row, _ in some], new)
    assert found == [answer[:new] for _, answer in some]


def test_eager_attention_takes_the_same_masks():
    model, rows = model_of("llama", attn_implementation="eager"), random_rows(5, prefix=10)
    assert decoded(make_decoder(model, 0, 300), rows, 8) == one_by_one(model, rows, 8)


def test_a_kv_cache_grows_and_shrinks():
    model = model_of("llama")
    decoder = make_decoder(model, 0, 10_000)
    for count, longest, prefix in ((2, 5, 0), (40, 30, 12), (3, 60, 0), (2, 4, 0)):
        rows = random_rows(count, count, longest, prefix)
        assert decoded(decoder, rows, 6) == one_by_one(model, rows, 6)
    decoder.release()
    assert decoded(decoder, rows, 6) == one_by_one(model, rows, 6)


class Counting:
    """Notes the shape of every forward pass."""

    def __init__(self, decoder, monkeypatch):
        self.shapes = []
        forward = decoder.core.forward

        def noting(ids, *rest):
            self.shapes.append(tuple(ids.shape))
            return forward(ids, *rest)

        monkeypatch.setattr(decoder.core, "forward", noting)


def test_no_step_is_made_for_a_finished_row_and_none_when_all_have_ended(monkeypatch):
    model, rows = model_of("llama"), random_rows(0)
    decoder = make_decoder(model, 0, 10_000)
    counting = Counting(decoder, monkeypatch)
    answers = decoded(decoder, rows, 12)
    reading = [rows for rows, width in counting.shapes if width > 1]
    steps = [rows for rows, width in counting.shapes if width == 1]
    assert sum(reading) == 30
    assert steps == [sum(len(answer) > step for answer in answers) for step in range(1, max(map(len, answers)))]


def test_new_rows_take_those_of_finished_ones(monkeypatch):
    model, rows = model_of("llama"), random_rows(0, 60)
    decoder = make_decoder(model, 0, 900)
    counting = Counting(decoder, monkeypatch)
    answers = decoded(decoder, rows, 12)
    reading = [shape for shape in counting.shapes if shape[1] > 1]
    stepping = [shape for shape in counting.shapes if shape[1] == 1]
    assert decoder.rows < 20 and sum(rows for rows, _ in reading) == 60
    in_turn = -(-60 // decoder.rows) * (max(map(len, answers)) - 1)
    assert len(stepping) < 0.8 * in_turn, "batches one after another would take more steps"
    assert sum(rows for rows, _ in stepping) == sum(len(answer) - 1 for answer in answers)


def test_what_has_finished_is_given_away_while_others_go_on(monkeypatch):
    model, rows = model_of("llama"), random_rows(0)
    expected = one_by_one(model, rows, 12)
    for seconds, fewest, most in ((0, 4, 12), (1000, 1, 2)):
        monkeypatch.setattr(decoder, "SECONDS", seconds)
        parts = list(make_decoder(model, 0, 10_000).decode(rows, 12))
        assert fewest <= len(parts) <= most and all(parts)
        assert [answer for _, answer in sorted(pair for part in parts for pair in part)] == expected


def test_a_shared_beginning_is_read_once(monkeypatch):
    model, rows = model_of("llama"), random_rows(3, 20, 6, prefix=30)
    decoder = make_decoder(model, 0, 10_000)
    counting = Counting(decoder, monkeypatch)
    assert decoded(decoder, rows, 4) == one_by_one(model, rows, 4)
    assert counting.shapes[0] == (1, 30)
    assert counting.shapes[1][0] == 20 and counting.shapes[1][1] <= 5


def test_beginnings_keep_to_the_memory_that_they_may_take():
    one, other = [5] * 200, [6] * 300
    rows = [[*one, 7], [*one, 8], [*one, 9], [*other, 7], [*other, 8], [9]]
    assert shared_prefixes(rows, 1000) == [200, 200, 200, 300, 300, 0]
    assert shared_prefixes(rows, 499) == [200, 200, 200, 0, 0, 0], "the one that saves more"
    assert shared_prefixes(rows, 199) == [0] * 6
    assert shared_prefixes([other, other], 1000) == [299, 299], "a token of its own is left"
    assert shared_prefixes([], 5) == [] and shared_prefixes([one], 1000) == [0]


def test_beginnings_must_save_more_than_they_cost():
    rows = [[5, 5, 5, number] for number in range(100)]
    assert shared_prefixes(rows, 1000) == [3] * 100
    assert shared_prefixes(rows[:80], 1000) == [0] * 80, "237 tokens are not worth a pass"
    few = [[6, 6, 6, number] for number in range(10)]
    assert shared_prefixes([*rows, *few], 1000) == [3] * 100 + [0] * 10


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=30), max_size=40), st.integers(1, 20))
def test_beginnings_are_shared_and_shorter_than_their_rows(rows, times):
    rows = [row for row in rows for _ in range(times)]
    lengths = shared_prefixes(rows, 60)
    beginnings = [tuple(row[:length]) for row, length in zip(rows, lengths, strict=True) if length]
    assert all(length < len(row) for row, length in zip(rows, lengths, strict=True))
    assert all(len(one) * (beginnings.count(one) - 1) >= 32 for one in beginnings)
    assert not beginnings or len(beginnings) - len(set(beginnings)) > 0
    assert sum(map(len, set(beginnings))) <= 60


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_what_two_rows_have_incommon_prefix(both, one, other):
    one, other = both + one, both + other
    expected = len(both)
    while expected < min(len(one), len(other)) and one[expected] == other[expected]:
        expected += 1
    assert common_prefix(one, other) == expected


def test_long_chains_of_beginnings_do_not_exceed_python_s_stack():
    rows = [[1] * length + [2] for length in range(1, 3000, 2)]
    assert len(shared_prefixes(rows, 10**6)) == 1500


def test_what_cannot_be_stepped_is_left_to_generate():
    torch.manual_seed(0)
    bloom = BloomForCausalLM(BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=2, n_head=2)).eval()
    rows = random_rows(0)
    decoder = make_decoder(bloom, 0, 300)
    assert isinstance(decoder, PlainGenerate)
    ended = [answer[: answer.index(2) + 1] if 2 in answer else answer for answer in one_by_one(bloom, rows, 6)]
    assert decoded(decoder, rows, 6) == ended
    penalised = model_of("llama")
    penalised.generation_config.repetition_penalty = 1.7
    decoder = make_decoder(penalised, 0, 300)
    assert isinstance(decoder, PlainGenerate)
    answers = decoded(decoder, rows, 6)
    assert answers == one_by_one(penalised, rows, 6) != one_by_one(model_of("llama"), rows, 6)


def test_half_precision_stays_a_number(monkeypatch):
    """Padding must attend to something, or attention over nothing is NaN and spreads."""
    model, rows = model_of("llama").to(torch.bfloat16), random_rows(0, prefix=10)
    answers = decoded(make_decoder(model, 0, 500), rows, 6)
    expected = one_by_one(model, rows, 6)
    same = sum(answer == other for answer, other in zip(answers, expected, strict=True))
    assert same > 0.8 * len(rows)
