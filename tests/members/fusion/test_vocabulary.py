"""Keys of tokens: equal where two tokenizers add the same bytes to a text."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds_of_tokenizers import (
    LINES,
    byte_level_bpe,
    real_tokenizer,
    real_vocabulary,
    sentence_piece_bpe,
    unigram,
    word_piece,
    words,
)
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast
from transformers.tokenization_python import PreTrainedTokenizer

from swarm.errors import UserError
from swarm.members.fusion.pieces import byte_alphabet, byte_level, sentence_piece
from swarm.members.fusion.vocabulary import EOS, read_vocabulary

BYTE_LEVEL, SENTENCE_PIECE = byte_level_bpe(), sentence_piece_bpe()


def key_of(tokenizer, piece):
    return read_vocabulary(tokenizer, "mine").keys[tokenizer.convert_tokens_to_ids(piece)]


def in_bytes(vocabulary, ids):
    return b"".join(vocabulary.content(token) or b"" for token in ids)


def test_the_byte_alphabet_is_a_bijection():
    alphabet = byte_alphabet()
    assert sorted(alphabet.values()) == list(range(256)) and len(alphabet) == 256
    assert (alphabet["Ġ"], alphabet["Ċ"], alphabet["Ã"], alphabet["A"]) == (0x20, 0x0A, 0xC3, 0x41)


def test_pieces_as_their_kinds_write_them():
    assert byte_level("Ġthe") == b" the" and byte_level("Ã©") == "é".encode() and byte_level("▁x") == "▁x".encode()
    assert sentence_piece("▁▁the") == b"  the" and sentence_piece("<0xE9>") == b"\xe9"
    assert sentence_piece("<0xE9>x") == b"<0xE9>x" and sentence_piece("<0xZZ>") == b"<0xZZ>"


def test_blanks_newlines_bytes_and_roles_meet():
    level, piece = read_vocabulary(BYTE_LEVEL, "level"), read_vocabulary(SENTENCE_PIECE, "piece")
    common = set(level.ids) & set(piece.ids)
    assert {("text", b" the"), ("text", b" cat"), ("text", b"\n"), ("text", b"\xf0"), EOS} <= common
    assert ("special", b"<|turn|>") in common
    assert sum(len(content) == 1 for kind, content in common if kind == "text") == 256
    assert key_of(BYTE_LEVEL, "<|endoftext|>") == key_of(SENTENCE_PIECE, "</s>") == EOS
    assert key_of(SENTENCE_PIECE, "<s>") == ("role", b"bos") and key_of(SENTENCE_PIECE, "<unk>") == ("role", b"unk")


def test_a_newline_has_its_own_piece_or_a_byte_piece():
    for tokenizer, piece in ((SENTENCE_PIECE, "<0x0A>"), (sentence_piece_bpe(newline_piece=True), "\n")):
        vocabulary = read_vocabulary(tokenizer, "mine")
        assert vocabulary.ids["text", b"\n"] == tokenizer.convert_tokens_to_ids(piece)


def test_the_plain_piece_stands_for_a_key_that_a_byte_piece_has_too():
    vocabulary = read_vocabulary(SENTENCE_PIECE, "mine")
    plain, spelt = SENTENCE_PIECE.convert_tokens_to_ids(["a", "<0x61>"])
    assert vocabulary.keys[plain] == vocabulary.keys[spelt] == ("text", b"a")
    assert vocabulary.ids["text", b"a"] == plain


def test_unigram_and_word_pieces():
    pieces = unigram()
    begin = next(piece for piece in pieces.get_vocab() if piece.startswith("▁") and len(piece) > 1)
    assert key_of(pieces, begin) == ("text", begin.replace("▁", " ").encode())
    for decoder in (True, False):
        bert = word_piece(decoder=decoder)
        assert key_of(bert, "the") == ("text", b" the") and key_of(bert, "##e") == ("text", b"e")
        assert key_of(bert, ",") == ("text", b"," if decoder else b" ,"), "the decoder's clean-up joins it"


def test_words_split_at_blanks_have_one_in_front():
    vocabulary = read_vocabulary(words(), "mine")
    assert vocabulary.keys == (
        ("role", b"unk"), ("role", b"bos"), EOS, ("text", b" the"), ("text", b" cat"), ("text", b" sat"),
    )  # fmt: skip
    assert vocabulary.content(2) is None and vocabulary.content(3) == b" the"


def test_added_tokens_that_are_not_special_are_text_as_they_are_decoded():
    for made, content, said in (
        (byte_level_bpe, "   ", b"   "),  # as GPT-NeoX has them
        (sentence_piece_bpe, AddedToken("▁▁▁", normalized=False), b"   "),  # as Gemma has them
        (sentence_piece_bpe, "new", b" new"),  # its normaliser puts a blank in front
        (words, "Please answer:", b" Please answer:"),
    ):
        tokenizer = made()
        tokenizer.add_tokens([content])
        tokenizer.add_tokens(["<|im_start|>"], special_tokens=True)
        vocabulary = read_vocabulary(tokenizer, "mine")
        assert vocabulary.keys[-2:] == (("text", said), ("special", b"<|im_start|>"))
        begin = tokenizer.convert_tokens_to_ids("the" if made is words else "a")
        ids = [begin, len(tokenizer) - 2]
        assert tokenizer.decode(ids) == ("the" if made is words else "a") + said.decode()


def test_ids_without_a_token():
    sparse = Tokenizer(models.WordLevel({"<unk>": 0, "a": 3}, unk_token="<unk>"))
    sparse.decoder = decoders.ByteLevel()
    holes = read_vocabulary(PreTrainedTokenizerFast(tokenizer_object=sparse, unk_token="<unk>"), "mine")
    assert holes.keys == (("role", b"unk"), None, None, ("text", b"a")) and len(holes) == 4


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        (lambda: words(split=False), "WordLevel) has no decoder"),
        (lambda: words(decoder=decoders.CTC()), "type CTC"),
        (lambda: words(decoder=decoders.BPEDecoder()), "type BPEDecoder"),
        (lambda: words(decoder=decoders.Sequence([decoders.Fuse(), decoders.Metaspace()])), "type Metaspace"),
        (ByT5Tokenizer, "ByT5Tokenizer"),
    ],
)
def test_a_tokenizer_that_is_not_understood_is_refused_in_one_line(tokenizer, said):
    with pytest.raises(UserError, match=re.escape(said)) as error:
        read_vocabulary(tokenizer(), "mine")
    assert "\n" not in str(error.value) and "wanted ByteLevel" in str(error.value) and "mine" in str(error.value)


class Slow(PreTrainedTokenizer):
    """A tokenizer in Python, over given pieces."""

    def __init__(self, pieces, **options):
        self.pieces = pieces
        super().__init__(**options)

    def get_vocab(self):
        return {piece: token for token, piece in enumerate(self.pieces)} | self.added_tokens_encoder

    vocab_size = property(lambda self: len(self.pieces))

    def _convert_token_to_id(self, token):
        return self.pieces.index(token)

    def _convert_id_to_token(self, token):
        return self.pieces[token]


def test_slow_tokenizers_as_far_as_they_can_be_read():
    level = Slow(["Ġthe", "Ċ", "</s>"], eos_token="</s>")
    with pytest.raises(UserError, match="slow one whose pieces cannot be read"):
        read_vocabulary(level, "mine")
    level.byte_decoder = byte_alphabet()
    pieces = Slow(["▁the", "<0x0A>", "</s>"], eos_token="</s>")
    pieces.sp_model = object()
    raw = Slow([b" the", b"\n", "</s>"], eos_token="</s>")
    for tokenizer in (level, pieces, raw):
        assert read_vocabulary(tokenizer, "mine").keys == (("text", b" the"), ("text", b"\n"), EOS)
    assert read_vocabulary(raw, "mine", "published").keys[0] == ("piece", b" the")


def test_the_published_rule():
    level = read_vocabulary(BYTE_LEVEL, "level", "published")
    piece = read_vocabulary(SENTENCE_PIECE, "piece", "published")
    common = set(level.ids) & set(piece.ids)
    assert ("piece", "▁the".encode()) in common and ("piece", b"a") in common
    assert ("piece", b"<0x0A>") in piece.ids and ("piece", "Ċ".encode()) in level.ids
    assert not {("piece", b"<0x0A>"), ("piece", "Ċ".encode()), ("piece", b"</s>")} & common
    twice = Tokenizer(models.WordLevel({"<unk>": 0, "Ġa": 1, "▁a": 2, "xĠy": 3}, unk_token="<unk>"))
    vocabulary = read_vocabulary(PreTrainedTokenizerFast(tokenizer_object=twice), "mine", "published")
    assert vocabulary.ids["piece", "▁a".encode()] == 2, "the later one counts"
    assert vocabulary.keys[1] == vocabulary.keys[2] and vocabulary.keys[3] == ("piece", "x▁y".encode())
    with pytest.raises(UserError, match="wanted one of bytes, published"):
        read_vocabulary(BYTE_LEVEL, "level", "strings")


def test_the_digest_is_of_the_content():
    digest = read_vocabulary(byte_level_bpe(), "a").digest
    assert digest == read_vocabulary(BYTE_LEVEL, "b", "published").digest
    padding = byte_level_bpe()
    padding(["a", "a b c"], padding=True, truncation=True, max_length=4)
    assert read_vocabulary(padding, "a").digest == digest, "how a caller pads and cuts is not part of it"
    others = [byte_level_bpe(size=300), byte_level_bpe(), byte_level_bpe()]
    others[1].add_tokens(["new"])
    others[2].bos_token = "<|turn|>"
    assert len({digest, *(read_vocabulary(other, "a").digest for other in others)}) == 4


@given(st.text(max_size=40))
@settings(deadline=None, max_examples=60)
def test_byte_level_keys_spell_any_text(text):
    vocabulary = read_vocabulary_once("level")
    assert in_bytes(vocabulary, BYTE_LEVEL(text, add_special_tokens=False).input_ids) == text.encode()


@given(st.text(alphabet=st.characters(blacklist_characters="▁", blacklist_categories=["Cs"]), max_size=40))
@settings(deadline=None, max_examples=60)
def test_sentence_piece_keys_spell_any_text_behind_the_first_blank(text):
    vocabulary = read_vocabulary_once("piece")
    ids = SENTENCE_PIECE(text, add_special_tokens=False).input_ids
    assert in_bytes(vocabulary, ids) == (f" {text}" if text else "").encode()


_READ = {}


def read_vocabulary_once(name):
    if name not in _READ:
        _READ[name] = read_vocabulary({"level": BYTE_LEVEL, "piece": SENTENCE_PIECE}[name], name)
    return _READ[name]


def test_keys_say_what_decoding_says():
    for tokenizer in (unigram(), word_piece()):
        vocabulary = read_vocabulary(tokenizer, "mine")
        for line in LINES[:4]:
            ids = [i for i in tokenizer(line, add_special_tokens=False).input_ids if vocabulary.content(i)]
            assert in_bytes(vocabulary, ids).decode().strip() == tokenizer.decode(ids).strip()


def test_what_the_real_tokenizers_have_in_common():
    """18,208 by bytes, 17,830 by the published rule; 9,709 where each id is decoded alone, which drops "▁"."""
    gpt2, llama2 = real_tokenizer("gpt2"), real_tokenizer("llama2")
    by_bytes = [real_vocabulary(name) for name in ("gpt2", "llama2")]
    assert [len(vocabulary) for vocabulary in by_bytes] == [50257, 32000]
    assert [len(vocabulary.ids) for vocabulary in by_bytes] == [50257, 31904], "96 byte pieces have plain ones too"
    common = set(by_bytes[0].ids) & set(by_bytes[1].ids)
    assert len(common) == 18208
    assert [key for key in common if key[0] != "text"] == [EOS]
    assert sum(len(content) == 1 for _, content in common) == 256, "every byte, the newline among them"
    published = [read_vocabulary(tokenizer, "x", "published") for tokenizer in (gpt2, llama2)]
    assert [len(vocabulary.ids) for vocabulary in published] == [50257, 31999], "Llama 2 has both of Ġ and ▁"
    common = set(published[0].ids) & set(published[1].ids)
    assert len(common) == 17830
    assert not {("piece", "Ċ".encode()), ("piece", b"<0x0A>")} & common
    alone = [{tokenizer.decode([token]) for token in range(len(tokenizer))} for tokenizer in (gpt2, llama2)]
    assert len(alone[0] & alone[1]) == 9709


@pytest.mark.parametrize("name", ["gpt2", "llama2"])
def test_real_keys_spell_real_text(name):
    tokenizer, vocabulary = real_tokenizer(name), real_vocabulary(name)
    text = "\n".join(LINES[:4]) + " 北京 – Ωmega\t\r\n  \x00end"
    spelt = in_bytes(vocabulary, tokenizer(text, add_special_tokens=False).input_ids).decode()
    assert spelt == (f" {text}" if name == "llama2" else text)


@pytest.mark.parametrize("name", ["gpt2", "llama2", "level", "piece", "unigram"])
def test_every_key_is_what_the_decoder_says_between_two_others(name):
    made = {"level": byte_level_bpe, "piece": sentence_piece_bpe, "unigram": unigram}
    tokenizer = made[name]() if name in made else real_tokenizer(name)
    vocabulary = read_vocabulary(tokenizer, name) if name in made else real_vocabulary(name)
    letter = tokenizer.convert_tokens_to_ids("a")
    spelt = {}
    for token in range(len(vocabulary)):
        content = vocabulary.content(token)
        if content is not None and b"\xef\xbf\xbd" not in content:
            try:
                spelt[token] = f"a{content.decode()}a"
            except UnicodeDecodeError:
                continue
    decode = tokenizer.backend_tokenizer.decode_batch
    assert dict(zip(spelt, decode([[letter, token, letter] for token in spelt]), strict=True)) == spelt
    assert len(spelt) > 0.97 * (len(vocabulary) - 256)
