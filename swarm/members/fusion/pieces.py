"""The bytes that a vocabulary's piece adds to a text, by the tokenizer's decoder."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from swarm.errors import UserError

Reader = Callable[[str], bytes]
"""A piece as the vocabulary writes it -> the bytes that it stands for in the middle of a text."""

METASPACE = "▁"
UNDERSTOOD = (
    "ByteLevel, Metaspace, Replace with ByteFallback (SentencePiece), WordPiece, and words without a decoder where the "
    "tokenizer splits at blanks"
)
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPLIT_AT_BLANKS = {"Whitespace", "WhitespaceSplit", "BertPreTokenizer"}
# what the WordPiece decoder joins to the word before, as its clean-up does
_JOINED = (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re")


def byte_alphabet() -> dict[str, int]:
    """The character by which byte-level BPE writes each byte -> the byte.

    Printable bytes of Latin-1 stand for themselves, the others for the characters from 256 on, in their order (GPT-2).
    """
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + code): byte for code, byte in enumerate(others)}


_ALPHABET = byte_alphabet()


def byte_level(piece: str) -> bytes:
    """A piece of byte-level BPE; one with a character outside of that alphabet stands for itself, as it is decoded."""
    known = [_ALPHABET.get(character) for character in piece]
    return piece.encode() if None in known else bytes(byte for byte in known if byte is not None)


def sentence_piece(piece: str) -> bytes:
    """A piece of SentencePiece: "▁" is a blank, "<0xE9>" a byte."""
    found = BYTE_PIECE.fullmatch(piece)
    return bytes([int(found[1], 16)]) if found else piece.replace(METASPACE, " ").encode()


def reader_of(rules: Mapping[str, Any], name: str) -> Reader:
    """The reader for a fast tokenizer, from its rules as tokenizer.json writes them.

    What a decoder does at the two ends of a text only (SentencePiece's first blank) is left out, so that a piece reads
    as it does in the middle. Raises UserError for a decoder that is not understood, or for none where pieces need one.
    """
    decoder = rules.get("decoder")
    if decoder is None:
        return _reader_without_decoder(rules, name)
    steps = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    kinds = [step["type"] for step in steps]
    within = steps[: kinds.index("Fuse")] if "Fuse" in kinds else steps  # after it, all pieces are one text
    readers = [_step(step, name) for step in within]
    for step in steps[len(within) :]:
        if step["type"] not in ("Fuse", "Strip"):
            raise _not_understood(step["type"], name)

    def read(piece: str) -> bytes:
        text: str | bytes = piece
        for reader in readers:
            text = reader(text) if isinstance(text, str) else text
        return text.encode() if isinstance(text, str) else text

    return read


def _reader_without_decoder(rules: Mapping[str, Any], name: str) -> Reader:
    """For words and word pieces: transformers then joins them with blanks."""
    kind = rules["model"].get("type")
    if kind == "WordPiece":
        return _word_piece(rules["model"].get("continuing_subword_prefix") or "##", joined=())
    if kind == "WordLevel" and _SPLIT_AT_BLANKS & set(_kinds(rules.get("pre_tokenizer"))):
        return lambda piece: b" " + piece.encode()
    raise UserError(
        f"the tokenizer of {name} ({kind}) has no decoder, so that its pieces cannot be compared with another's; "
        f"wanted {UNDERSTOOD}: use a model with such a tokenizer"
    )


def _kinds(step: Mapping[str, Any] | None) -> list[str]:
    """The types of a pre-tokenizer, or of all those in a sequence of them."""
    if step is None:
        return []
    return (
        [kind for part in step["pretokenizers"] for kind in _kinds(part)] if "pretokenizers" in step else [step["type"]]
    )


def _step(step: Mapping[str, Any], name: str) -> Callable[[str], str | bytes]:
    """The function of one decoder on one piece."""
    kind = step["type"]
    if kind == "ByteLevel":
        return byte_level
    if kind == "Metaspace":
        return _replaced(step.get("replacement", METASPACE), " ")
    if kind == "Replace" and "String" in step["pattern"]:
        return _replaced(step["pattern"]["String"], step["content"])
    if kind == "ByteFallback":
        return lambda piece: sentence_piece(piece) if BYTE_PIECE.fullmatch(piece) else piece
    if kind == "WordPiece":
        return _word_piece(step.get("prefix", "##"), _JOINED if step.get("cleanup", True) else ())
    raise _not_understood(kind, name)


def _replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda piece: piece.replace(old, new)


def _word_piece(prefix: str, joined: tuple[str, ...]) -> Reader:
    """A piece with the prefix goes on without a blank, and so does one that begins like one of those `joined`."""

    def read(piece: str) -> bytes:
        if piece.startswith(prefix) and piece != prefix:
            return piece[len(prefix) :].encode()
        return piece.encode() if joined and piece.startswith(joined) else b" " + piece.encode()

    return read


def _not_understood(kind: str, name: str) -> UserError:
    return UserError(
        f"the tokenizer of {name} has a decoder of type {kind}, which is not understood; wanted {UNDERSTOOD}: use a "
        "model with such a tokenizer"
    )
