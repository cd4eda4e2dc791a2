"""Nearest strings and unions of tokens."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds_of_tokenizers import byte_level_bpe, real_vocabulary, sentence_piece_bpe
from tokenizers_of import tokenizer_of

from swarm.members.fusion.build import make_chooser
from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.members.fusion.loading import Lexicon
from swarm.members.fusion.unions import encoder_within, nearest_tokens, union_ids, union_keys
from swarm.members.fusion.vocabulary import EOS, Vocabulary, read_vocabulary
from swarm.text.edit_distance import NearestStrings

LEVEL, PIECE = byte_level_bpe(), sentence_piece_bpe()


def plain_distance(one, other):
    """The table of distances, row by row."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        below = [i]
        for j, another in enumerate(other, 1):
            below.append(min(below[-1] + 1, row[j] + 1, row[j - 1] + (letter != another)))
        row = below
    return row[-1]


LETTERS = st.text(alphabet="abcé \udc80北", max_size=12)


@given(LETTERS, st.lists(LETTERS, min_size=1, max_size=12))
@settings(deadline=None, max_examples=150)
def test_the_nearest_string_is_the_first_of_least_distance(string, strings):
    distances = [plain_distance(string, other) for other in strings]
    assert NearestStrings(strings).nearest(string) == (distances.index(min(distances)), min(distances))


@given(st.text(alphabet="ab", min_size=50, max_size=90), st.lists(st.text("ab", min_size=40, max_size=90), min_size=1))
@settings(deadline=None, max_examples=20)
def test_long_strings_too(string, strings):
    distances = [plain_distance(string, other) for other in strings]
    assert NearestStrings(strings).nearest(string) == (distances.index(min(distances)), min(distances))


def test_nothing_is_nearest_to_a_string_where_there_is_nothing():
    with pytest.raises(ValueError, match="there are none"):
        NearestStrings([]).nearest("a")


def made(name, *keys):
    return Vocabulary(name, "bytes", keys, {key: token for token, key in enumerate(keys) if key}, name)


def text(content):
    return "text", content.encode()


def test_the_same_key_comes_first_then_the_nearest_then_the_lowest_id():
    target = made("target", EOS, text("cat"), text(" bat"), text(" cat"), text("é"), ("special", b"cats"))
    source = made("source", text(" cat"), text("cats"), text(" rat"), None, EOS, ("special", b"cat"), ("text", b"\xc3"))
    assert nearest_tokens(source, target).tolist() == [3, 1, 2, -1, 0, -1, 4]


def test_every_text_token_of_a_tokenizer_finds_a_nearest_one():
    source, target = read_vocabulary(PIECE, "piece"), read_vocabulary(LEVEL, "level")
    found = nearest_tokens(source, target)
    assert found.shape == (len(source),) and found.dtype == torch.int64
    none = {source.keys[token] for token in (found < 0).nonzero().flatten().tolist()}
    assert none == {("role", b"unk"), ("role", b"bos")}
    strings = [target.content(token) for token in range(len(target))]
    for token in range(0, len(source), 7):
        key = source.keys[token]
        if key in target.ids:
            assert found[token] == target.ids[key]
        elif key[0] == "text":
            own = key[1].decode(errors="surrogateescape")
            least = min(plain_distance(own, s.decode(errors="surrogateescape")) for s in strings if s is not None)
            near = strings[found[token]].decode(errors="surrogateescape")
            assert plain_distance(own, near) == least


def test_a_union_has_every_key_once_in_the_order_in_which_they_come():
    assert union_keys([[text("b"), text("a")], [text("a"), EOS], []]) == [text("b"), text("a"), EOS]


def test_a_tokens_place_is_its_key_or_the_first_sub_token_of_its_text():
    vocabulary = made("x", text("the"), text("th"), text("rm"), EOS, ("text", b"\xc3"), text(" "))
    keys = [text("the"), text("thermal"), text("zebra"), EOS, ("role", b"pad"), ("text", b"\xc3\xa9\xff"), text(" cat")]
    assert union_ids(keys, vocabulary) == [0, 0, -1, 3, -1, 4, 5], "the longest beginning"
    asked = []

    def encode(content):
        asked.append(content)
        return [1, 2] if content.startswith("th") else []

    assert union_ids(keys, vocabulary, encode) == [0, 1, -1, 3, -1, 4, 5]
    assert asked == ["thermal", "zebra", " cat"], "bytes that are no text are not asked for"


def test_a_union_of_two_real_tokenizers():
    vocabularies = [read_vocabulary(LEVEL, "level"), read_vocabulary(PIECE, "piece")]
    tops = [[text(" the"), text(" cat")], [text(" cat"), text("\n"), EOS]]
    keys = union_keys(tops)
    assert len(keys) == 4
    for vocabulary in vocabularies:
        assert [vocabulary.keys[token] for token in union_ids(keys, vocabulary)] == keys
    (found,) = union_ids([text("catkin")], vocabularies[0], lambda content: LEVEL(content).input_ids)
    assert b"catkin".startswith(vocabularies[0].content(found))


def test_the_nearest_tokens_of_real_vocabularies():
    """A stretch of Llama 2's pieces in all of GPT-2's; all 32,000 take some twenty seconds."""
    source, target = (real_vocabulary(name) for name in ("llama2", "gpt2"))
    stretch = Vocabulary("some", "bytes", source.keys[5000:5600], {}, "some")
    found = nearest_tokens(stretch, target)
    same = [target.keys[token] == key for token, key in zip(found.tolist(), stretch.keys, strict=True)]
    assert sum(same) == sum(key in target.ids for key in stretch.keys) > 200
    near = {key[1]: target.content(token) for key, token in zip(stretch.keys, found.tolist(), strict=True)}
    for own, other in list(near.items())[::40]:
        limit = len(own.decode())
        assert plain_distance(own.decode(), other.decode(errors="surrogateescape")) <= limit


@pytest.mark.parametrize("name", ["llama2", "gpt2", "metaspace", "metaspace-prepend", "unigram", "byte-level-groups"])
def test_a_missing_token_is_its_first_sub_token_as_the_tokenizer_writes_it(name):
    tokenizer = tokenizer_of(name)
    vocabulary = real_vocabulary(name) if name in ("llama2", "gpt2") else read_vocabulary(tokenizer, name)
    encode = encoder_within(tokenizer, vocabulary)
    for content in (" targ", "erest", " della", "sible", "cite", ".\n", " 12"):
        written = encode(content)
        assert b"".join(vocabulary.content(token) for token in written) == content.encode(), "and no blank before it"
        assert union_ids([text(content)], vocabulary, encode) in ([vocabulary.ids.get(text(content))], written[:1])
    assert encode("") == []


def test_a_union_asks_the_tokenizers_themselves():
    """The longest piece that "targ" begins with is not the one that GPT-2 cuts off first."""
    names = ("llama2", "gpt2")
    fusion_models = [Lexicon(name, tokenizer_of(name), torch.zeros(0, 1)) for name in names]
    llama, gpt = (real_vocabulary(name) for name in names)
    chooser = make_chooser(fusion_models, FusionSettings(space="union", top=1))
    first = fusion_models[1].tokenizer(" della").input_ids[0]
    assert gpt.keys[first] == text(" de") and text(" del") in gpt.ids and text(" della") in llama.ids
    logits = [torch.full((1, len(own)), -9.0) for own in (llama, gpt)]
    logits[0][0, [llama.ids[text(" della")], llama.ids[text(" the")]]] = torch.tensor([1.0, 1.5])
    logits[1][0, [first, gpt.ids[text(" the")]]] = torch.tensor([8.0, 8.5])
    logits[1][0, gpt.ids[text(" del")]] = 8.4
    asked = torch.tensor([[llama.ids[text(" della")], llama.ids[text(" the")]]])
    shares = torch.tensor([[1.0, 1.5], [8.0, 8.5]]).softmax(-1).mean(0)
    assert torch.allclose(chooser.scores(logits, torch.tensor([0.5, 0.5]), asked), shares)
