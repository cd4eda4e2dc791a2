"""Tokens in common, and which of them are taken."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds_of_tokenizers import byte_level_bpe, sentence_piece_bpe, words

from swarm.errors import UserError
from swarm.members.fusion.anchors import common_anchors, consistency, select_anchors
from swarm.members.fusion.vocabulary import EOS, Vocabulary, read_vocabulary


def made(name, *contents, rule="bytes"):
    keys = tuple(content and ("text", content) for content in contents)
    return Vocabulary(name, rule, keys, {key: token for token, key in enumerate(keys) if key}, name)


ONE, OTHER = made("one", b"b", b"a", None, b"d", b"c"), made("other", b"c", b"x", b"a", b"b", b"d")


def test_common_keys_in_order_with_their_ids():
    anchors = common_anchors([ONE, OTHER])
    assert [content for _, content in anchors.keys] == [b"a", b"b", b"c", b"d"]
    assert anchors.ids.tolist() == [[1, 0, 4, 3], [2, 3, 0, 4]] and anchors.ids.dtype == torch.int64
    assert (len(anchors), anchors.rule, anchors.selection) == (4, "bytes", "all")
    swapped = common_anchors([OTHER, ONE])
    assert swapped.keys == anchors.keys and torch.equal(swapped.ids, anchors.ids.flip(0))
    assert swapped.digest() == anchors.digest() != common_anchors([ONE, made("third", b"a")]).digest()
    assert len(common_anchors([ONE])) == 4


def test_real_vocabularies_agree_on_every_anchor():
    vocabularies = [read_vocabulary(make(), "x") for make in (byte_level_bpe, sentence_piece_bpe)]
    anchors = common_anchors(vocabularies)
    assert EOS in anchors.keys and ("text", b"\n") in anchors.keys
    for vocabulary, ids in zip(vocabularies, anchors.ids.tolist(), strict=True):
        assert tuple(vocabulary.keys[token] for token in ids) == anchors.keys


def test_rows_without_a_token_and_tokens_without_a_row_are_no_anchors(caplog):
    assert common_anchors([ONE, OTHER], [64, 5]).keys == common_anchors([ONE, OTHER]).keys and not caplog.records
    with caplog.at_level(logging.WARNING):
        anchors = common_anchors([ONE, OTHER], [4, 4])
    assert [content for _, content in anchors.keys] == [b"a", b"b"]
    assert "one: 1 tokens have no row in the embedding matrix" in caplog.text


def test_nothing_in_common_is_refused():
    with pytest.raises(UserError, match=r"one \(4\), third \(1\) have no token in common.*leave out") as error:
        common_anchors([ONE, made("third", b"zzz")])
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="2 rules"):
        common_anchors([ONE, made("third", b"a", rule="published")])


def test_a_random_choice_is_the_generators(caplog):
    anchors = common_anchors([read_vocabulary(byte_level_bpe(), "x")])
    first, again, other = (select_anchors(anchors, "random", 50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert len(first) == 50 and first.keys == again.keys != other.keys and first.selection == "random"
    assert list(first.keys) == sorted(set(first.keys)) and set(first.keys) <= set(anchors.keys)
    indices = [anchors.keys.index(key) for key in first.keys]
    assert torch.equal(first.ids, anchors.ids[:, indices])
    assert not caplog.text
    assert select_anchors(anchors, "random", 10**6, np.random.default_rng(1)).keys == anchors.keys
    assert f"1000000 anchors were asked for, but the models share {len(anchors)} tokens: all are taken" in caplog.text
    assert select_anchors(anchors, "all") is anchors


@pytest.mark.parametrize(
    ("selection", "count", "said"),
    [("best", 3, "wanted one of all, random, consistency"), ("random", None, "is None"), ("consistency", 0, "is 0")],
)
def test_a_choice_that_cannot_be_made_is_refused(selection, count, said):
    with pytest.raises(UserError, match=said):
        select_anchors(common_anchors([ONE, OTHER]), selection, count, np.random.default_rng(0))


def test_what_a_choice_needs_must_be_handed_in():
    for selection in ("random", "consistency"):
        with pytest.raises(ValueError, match="needs"):
            select_anchors(common_anchors([ONE, OTHER]), selection, 2)


def embeddings(count, seed=0, dtype=torch.float32, sizes=((5, 6), (9, 7), (5, 4))):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*sizes[index], generator=generator).to(dtype) for index in range(count)]


def plain_consistency(anchors, matrices):
    """Straight from the words, in float64."""
    cosines = []
    for ids, matrix in zip(anchors.ids, matrices, strict=True):
        chosen = matrix[ids].double()
        chosen = chosen / chosen.norm(dim=1, keepdim=True)
        rows = chosen @ chosen.T
        cosines.append(rows / rows.norm(dim=1, keepdim=True))
    pairs = [(i, j) for i in range(len(cosines)) for j in range(i)]
    return torch.stack([(cosines[i] * cosines[j]).sum(1) for i, j in pairs]).mean(0)


@given(st.integers(2, 3), st.integers(0, 1000), st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_consistency_is_what_it_is_said_to_be(count, seed, block):
    anchors = common_anchors([ONE, OTHER, made("third", b"d", b"c", b"b", b"a")][:count])
    matrices = embeddings(count, seed)
    scores = consistency(anchors, matrices, block)
    assert scores.dtype == torch.float32 and scores.shape == (4,)
    torch.testing.assert_close(scores, plain_consistency(anchors, matrices).float(), atol=2e-6, rtol=1e-5)


def test_the_most_consistent_are_taken():
    names = [bytes([letter]) for letter in b"abcdefgh"]
    anchors = common_anchors([made("x", *names), made("y", *names[::-1])])
    matrix = torch.randn(8, 6, generator=torch.Generator().manual_seed(3))
    turned = (matrix @ torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(4)))[0]).flip(0) * 3
    assert consistency(anchors, [matrix, turned]) == pytest.approx(torch.ones(8).tolist(), abs=1e-5)
    odd = turned.clone()
    odd[7 - 2] = torch.randn(6, generator=torch.Generator().manual_seed(5))  # "c" is another thing in y
    chosen = select_anchors(anchors, "consistency", 7, embeddings=[matrix, odd])
    assert [content for _, content in chosen.keys] == [name for name in names if name != b"c"]
    assert chosen.selection == "consistency"
    half = select_anchors(anchors, "consistency", 7, embeddings=[matrix.bfloat16(), odd.bfloat16()])
    assert half.keys == chosen.keys
    assert consistency(common_anchors([ONE]), embeddings(1)).tolist() == [1.0] * 4


def test_a_zero_row_is_no_fault():
    matrices = embeddings(2)
    matrices[0][1] = 0
    assert torch.isfinite(consistency(common_anchors([ONE, OTHER]), matrices)).all()


def test_models_of_words_share_their_words():
    anchors = common_anchors([read_vocabulary(words(), "x"), read_vocabulary(byte_level_bpe(), "y")])
    assert ("text", b" the") in anchors.keys and EOS in anchors.keys
