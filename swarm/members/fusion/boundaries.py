"""Cuts of a text at which its two parts have the tokens of the whole, whatever follows."""

import json
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

from swarm.members.fusion.pieces import byte_alphabet

# normalizers that change nothing but spaces; Unicode's as well; all that leave the one space between two words
MARKS, SQUEEZES = "marks spaces", "squeezes spaces"  # what a Replace may do
EXACT = frozenset(("Prepend", MARKS))
NORMAL_FORMS = EXACT | {"NFC", "NFD", "NFKC", "NFKD"}
KEEPS_SPACES = NORMAL_FORMS | {SQUEEZES, "Lowercase", "Strip", "StripAccents", "Precompiled", "Nmt", "BertNormalizer"}
FARTHEST = 512  # characters in which a cut is looked for
SUBWORDS = ("BPE", "Unigram")  # models that put pieces side by side; others take words whole
SPLITS_AT_SPACES = ("WhitespaceSplit", "Whitespace", "BertPreTokenizer")


class Boundaries:
    """The cuts that a tokenizer's own file proves.

    A token is a piece of the vocabulary, so between two characters that no piece has side by side a token ends, and
    what is on one side never changes the other. Where words are taken whole, they end at spaces.

    Attributes:
      known: whether any cut can be proved; not for slow tokenizers and parts that are not known here.
    """

    def __init__(self, tokenizer: Any):
        """Reads the whole vocabulary: 0.1 s for 50,000 pieces."""
        self.known = False
        if not tokenizer.is_fast:
            return
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        model, normalizers = state["model"], list(_parts(state["normalizer"], "normalizers"))
        splitters = {part["type"] for part in _parts(state["pre_tokenizer"], "pretokenizers")}
        kinds = {_kind(part) for part in normalizers}
        self._alphabet = {byte: character for character, byte in byte_alphabet().items()}
        self._byte_level = "ByteLevel" in splitters
        self._marks_spaces = "Metaspace" in splitters or MARKS in kinds
        self._exact, normal = kinds <= EXACT, kinds <= NORMAL_FORMS
        subwords = model["type"] in SUBWORDS and not model.get("continuing_subword_prefix")
        vocabulary = tokenizer.get_vocab() if subwords else {}
        self._pairs = _pairs(vocabulary)
        self._singles = {piece for piece in vocabulary if len(piece) == 1}
        fallback = model.get("byte_fallback") and all(f"<0x{byte:02X}>" in vocabulary for byte in range(256))
        self._all_bytes = bool(fallback) or (self._byte_level and self._singles >= set(byte_alphabet()))
        # added tokens are found in the text before anything else
        added = [token["content"] for token in state["added_tokens"]]
        self._added = _pairs([*added, *map(str.lower, added)])
        self._inner_space = any(space in {"▁", "Ġ", " "} and not _is_space(one) for one, space in self._pairs)
        words = subwords or bool(splitters & set(SPLITS_AT_SPACES))
        self.known = kinds <= KEEPS_SPACES and words and not model.get("dropout")
        self._words_only = not subwords or not normal

    def certain(self, text: str, position: int) -> bool:
        """Whether the tokens of text[:position] and of the rest are those of the whole, also when the text grows.

        What stands before a cut may decide how a piece of text begins (a space that is put there), so the rest is to
        be encoded with some of it.
        """
        if not self.known or not 0 < position < len(text) - 1:
            return False
        one, other, behind = text[position - 1], text[position], text[position + 1]
        # how digits are grouped depends on where the number begins, and how spaces are on what stands behind them
        if (one.isnumeric() and other.isnumeric()) or one.isspace():
            return False
        if (one, other) in self._added or (one.lower(), other.lower()) in self._added:
            return False
        if self._words_only:
            plain = one.isascii() and one.isalnum() and behind.isascii() and behind.isalnum()
            return other == " " and plain and not self._inner_space
        if not self._exact and not (_fixed(one) and _fixed(other) and _fixed(behind)):
            return False
        left, right = self._written(one)[-1], self._written(other)[0]
        # characters that are no piece may become one unknown token together
        known = self._all_bytes or left in self._singles or right in self._singles
        return known and (left, right) not in self._pairs

    def last(self, text: str, after: int, until: int) -> int | None:
        """The last certain cut with after < position <= until, None if there is none near the end."""
        return next((cut for cut in range(until, max(after, until - FARTHEST), -1) if self.certain(text, cut)), None)

    def _written(self, character: str) -> str:
        """The character as the vocabulary's pieces write it."""
        if self._byte_level:
            return "".join(self._alphabet[byte] for byte in character.encode("utf-8", "surrogatepass"))
        return "▁" if character == " " and self._marks_spaces else character


_known: "WeakKeyDictionary[Any, tuple[int, Boundaries]]" = WeakKeyDictionary()


def boundaries_of(tokenizer: Any) -> Boundaries:
    """A tokenizer's boundaries, found once for each and again when tokens are added to it."""
    size, found = _known.get(tokenizer, (-1, None))
    if found is None or size != len(tokenizer):
        found = Boundaries(tokenizer)
        _known[tokenizer] = (len(tokenizer), found)
    return found


def _parts(part: dict[str, Any] | None, inner: str) -> Iterator[dict[str, Any]]:
    """A normalizer or pre-tokenizer, or those of a sequence."""
    if part is None:
        return
    if part["type"] != "Sequence":
        yield part
        return
    for each in part[inner]:
        yield from _parts(each, inner)


def _kind(normalizer: dict[str, Any]) -> str:
    """A normalizer's type, for those that replace something what they do."""
    pattern, content = normalizer.get("pattern"), normalizer.get("content")
    if pattern == {"String": " "} and content == "▁":
        return MARKS
    if pattern == {"Regex": " {2,}"} and content in (" ", "▁"):
        return SQUEEZES
    return str(normalizer["type"])


def _pairs(pieces: Iterable[str]) -> set[tuple[str, str]]:
    """All characters that stand side by side in a piece."""
    return {pair for piece in pieces for pair in pairwise(piece)}


def _fixed(character: str) -> bool:
    """Whether no normal form of Unicode changes a character or joins it with its neighbours: ASCII, ideographs."""
    return character.isascii() or "\u4e00" <= character <= "\u9fff"


def _is_space(character: str) -> bool:
    return character in ("▁", "Ġ") or unicodedata.category(character) == "Zs" or character.isspace()
