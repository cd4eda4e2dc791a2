"""Incremental detokenization: the text of generated tokens, exactly and as soon as it is known."""

import codecs
import json
from collections.abc import Sequence
from typing import Any

from swarm.members.fusion.pieces import BYTE_PIECE, byte_alphabet

_ALPHABET = byte_alphabet()


class GrowingText:
    """The text of what a model generates after its prompt, token by token.

    The parts together are what decoding prompt and tokens at once gives behind the prompt, without clean-up of spaces.
    Bytes are held back until they are whole characters, and no longer: a newline that is a byte token is known at
    once. Of byte tokens that are no UTF-8, every part that no character begins with becomes one U+FFFD.

    Attributes:
      text: all that is known so far.
    """

    def __init__(self, tokenizer: Any, prompt_ids: Sequence[int] = (), skip_special_tokens: bool = True):
        """`prompt_ids` decide about the space before the first word; special tokens are no text unless asked for."""
        self.text = ""
        self._tokenizer = tokenizer
        self._skipped = special_ids(tokenizer) if skip_special_tokens else frozenset()
        self._byte_level = decoder_types(tokenizer) in (["ByteLevel"], ["ByteLevel", "Fuse"])
        self._byte_fallback = "ByteFallback" in decoder_types(tokenizer)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        # the last token whose text is known, beside which the next one's is seen; those whose text is not known yet
        self._before = [token for token in prompt_ids if token not in self._skipped][-1:]
        self._waiting: list[int] = []

    @property
    def pending(self) -> bool:
        """Whether tokens wait for the rest of a character."""
        return bool(self._waiting or self._utf8.getstate()[0])

    def append(self, token: int) -> str:
        """Appends a token; returns the text that is known now and was not before, perhaps ""."""
        if token in self._skipped:
            return ""
        known = self._bytes_of(token)
        if known is not None:
            self._before = [token]
            return self._add(self._utf8.decode(known))
        rest = self._utf8.decode(b"", final=True)  # bytes that are no character will not become one any more
        self._utf8.reset()
        self._waiting.append(token)
        new = self._text_of_waiting()
        if not self._byte_fallback and (not new or new.endswith("\ufffd")):  # else only byte pieces can be parts
            return self._add(rest)
        self._before, self._waiting = self._waiting, []
        return self._add(rest + new)

    def finish(self) -> str:
        """The text that was still held back, for texts that end in the middle of a character."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        if self._waiting:
            rest += self._text_of_waiting()
            self._before, self._waiting = self._waiting, []
        return self._add(rest)

    def _add(self, new: str) -> str:
        self.text += new
        return new

    def _text_of_waiting(self) -> str:
        """The text of the waiting tokens behind the text before them: a first token alone may lose its space."""
        before, after = self._decode(self._before), self._decode([*self._before, *self._waiting])
        return after[len(before) :] if after.startswith(before) else self._decode(self._waiting)

    def _decode(self, ids: list[int]) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def _bytes_of(self, token: int) -> bytes | None:
        """The bytes that a token stands for, where tokens are bytes."""
        if not self._byte_level and not self._byte_fallback:
            return None
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:  # rows of a model's vocabulary that its tokenizer does not use
            return b""
        if self._byte_level:
            if all(character in _ALPHABET for character in piece):
                return bytes(_ALPHABET[character] for character in piece)
            return str(piece).encode()
        byte = BYTE_PIECE.fullmatch(piece)
        return bytes([int(byte[1], 16)]) if byte else None


class LegacyText:
    """The text as the original program feeds it to the others: every token's piece, literally.

    Of a leading "▁" becomes one space; byte pieces, "Ġ", "Ċ" and further "▁" stay as they are written (arXiv
    2404.12715's code, see the specification, 1.6). For comparison only.

    Attributes:
      text: all pieces so far.
    """

    pending = False

    def __init__(self, tokenizer: Any, prompt_ids: Sequence[int] = (), skip_special_tokens: bool = False):
        """The arguments are those of `GrowingText`; the prompt changes nothing."""
        self.text = ""
        self._tokenizer = tokenizer
        self._skipped = special_ids(tokenizer) if skip_special_tokens else frozenset()

    def append(self, token: int) -> str:
        """The token's piece."""
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None or token in self._skipped:
            return ""
        new = piece.decode() if isinstance(piece, bytes) else str(piece)
        new = f" {new[1:]}" if new.startswith("▁") else new
        self.text += new
        return new

    def finish(self) -> str:
        """Nothing is held back."""
        return ""


def special_ids(tokenizer: Any) -> frozenset[int]:
    """The ids that `decode(skip_special_tokens=True)` skips."""
    if not tokenizer.is_fast:
        return frozenset(tokenizer.all_special_ids)
    return frozenset(number for number, token in tokenizer.added_tokens_decoder.items() if token.special)


def decoder_types(tokenizer: Any) -> list[str]:
    """The types of a fast tokenizer's decoders, in their order; empty where there are none or they are not known."""
    decoder = tokenizer.backend_tokenizer.decoder if tokenizer.is_fast else None
    if decoder is None:
        # slow ones of SentencePiece write bytes as pieces too, and decode them likewise
        return [] if tokenizer.is_fast or "<0x0A>" not in tokenizer.get_vocab() else ["ByteFallback"]
    state = json.loads(decoder.__getstate__())
    return [str(part["type"]) for part in state.get("decoders", [state])]
