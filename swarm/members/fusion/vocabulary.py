"""Vocabularies by content: every token as a key that can be compared between tokenizers.

By the published rule (arXiv 2404.12715, section 3.1, and its program) two tokens are the same when their pieces are
equal as strings once "Ġ" is written "▁". That finds no newline, no single byte and no accented letter in common between
SentencePiece and byte-level BPE. By our own rule they are the same when they add the same bytes to a text.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarm.errors import UserError
from swarm.members.fusion.pieces import METASPACE, UNDERSTOOD, Reader, byte_level, reader_of, sentence_piece

Key = tuple[str, bytes]
"""What a token is, and its content: ("text", b" the"), ("role", b"eos"), ("special", b"<|im_start|>")."""

TEXT, ROLE, SPECIAL, PIECE = "text", "role", "special", "piece"
ROLES = ("eos", "bos", "pad", "unk")  # a token with several of them is known by the first
EOS: Key = (ROLE, b"eos")
RULES = ("bytes", "published")


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one tokenizer by their keys.

    Attributes:
      name: of the model, as messages say it.
      rule: "bytes" or "published": how the keys were made.
      keys: the key of every id; None where an id has no token.
      ids: the id of every key; where several tokens have it, the one that the tokenizer itself would use.
      digest: SHA-256 of pieces, decoder and all else of the tokenizer that changes how text becomes ids.
    """

    name: str
    rule: str
    keys: tuple[Key | None, ...]
    ids: Mapping[Key, int]
    digest: str

    def __len__(self) -> int:
        """The number of ids, those without a token included."""
        return len(self.keys)

    def content(self, token: int) -> bytes | None:
        """The bytes that a token adds to a text; None for special tokens, and for ids without a token."""
        key = self.keys[token]
        return key[1] if key is not None and key[0] in (TEXT, PIECE) else None


def read_vocabulary(tokenizer: Any, name: str, rule: str = "bytes") -> Vocabulary:
    """The vocabulary of a transformers tokenizer, fast or slow.

    With rule "bytes" the key of a token is the bytes that it adds to the middle of a text (a leading blank included);
    BOS, EOS, PAD and UNK go by their role and other special tokens by their content. Where a byte-fallback piece and
    a plain piece say the same, the plain one is what the key stands for. With rule "published" it is the piece with
    every "Ġ" written "▁"; of two that then collide the one with the higher id counts.

    Raises UserError for an unknown rule, and under "bytes" for a tokenizer whose decoder is not understood.
    """
    if rule not in RULES:
        raise UserError(f"keys of a vocabulary go by {rule!r}; wanted one of {', '.join(RULES)}")
    rules = _rules(tokenizer)
    pieces = _pieces(tokenizer)
    digest = _digest(tokenizer, rules, pieces)
    if rule == "published":
        keys = tuple(None if piece is None else (PIECE, _published(piece)) for piece in pieces)
        ids = {key: token for token, key in enumerate(keys) if key is not None}
        return Vocabulary(name, rule, keys, ids, digest)
    reader = _slow_reader(tokenizer, name) if rules is None else reader_of(rules, name)
    keys = tuple(_keys(tokenizer, pieces, reader))
    return Vocabulary(name, rule, keys, _preferred(pieces, keys), digest)


def _keys(tokenizer: Any, pieces: list[str | bytes | None], reader: Reader) -> list[Key | None]:
    """The key of every id by the rule "bytes"."""
    keys: list[Key | None] = [
        None if piece is None else (TEXT, piece if isinstance(piece, bytes) else reader(piece)) for piece in pieces
    ]
    for token, added in tokenizer.added_tokens_decoder.items():
        if added.special:  # others are decoded as all pieces are
            keys[token] = (SPECIAL, added.content.encode())
    for role in reversed(ROLES):
        token = getattr(tokenizer, f"{role}_token_id", None)
        if token is not None and 0 <= token < len(keys):
            keys[token] = (ROLE, role.encode())
    return keys


def _preferred(pieces: list[str | bytes | None], keys: tuple[Key | None, ...]) -> dict[Key, int]:
    """Key -> id; a byte-fallback piece only where no other has the key, since it is used for lack of another."""
    ids: dict[Key, int] = {}
    fallback: dict[Key, int] = {}
    for token, (piece, key) in enumerate(zip(pieces, keys, strict=True)):
        if key is not None:
            spelt = isinstance(piece, str) and len(piece) == 6 and piece.startswith("<0x") and key[0] == TEXT
            (fallback if spelt and len(key[1]) == 1 else ids).setdefault(key, token)
    return fallback | ids


def _published(piece: str | bytes) -> bytes:
    return piece if isinstance(piece, bytes) else piece.replace("Ġ", METASPACE).encode()


def _pieces(tokenizer: Any) -> list[str | bytes | None]:
    """The piece of every id, as the vocabulary writes it; some tokenizers hold bytes instead of text."""
    vocabulary = tokenizer.get_vocab()
    added = tokenizer.added_tokens_decoder
    pieces: list[str | bytes | None] = [None] * (1 + max([*vocabulary.values(), *added], default=-1))
    # two pieces with one id: which of them comes first in the mapping is not the same in every process
    for piece, token in sorted(vocabulary.items(), key=lambda item: (item[1], str(item[0]))):
        pieces[token] = piece
    for token in added:
        pieces[token] = tokenizer.convert_ids_to_tokens(token)  # as it is decoded: content that is normalised
    return pieces


def _rules(tokenizer: Any) -> dict[str, Any] | None:
    """The content of a fast tokenizer's tokenizer.json; None for a slow one."""
    if not tokenizer.is_fast:
        return None
    rules: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return rules


def _slow_reader(tokenizer: Any, name: str) -> Reader:
    """The reader for a tokenizer written in Python: SentencePiece's, byte-level BPE's, or one of pieces in bytes."""
    if hasattr(tokenizer, "sp_model"):
        return sentence_piece
    if hasattr(tokenizer, "byte_decoder") or any(isinstance(piece, bytes) for piece in tokenizer.get_vocab()):
        return byte_level
    raise UserError(
        f"the tokenizer of {name} ({type(tokenizer).__name__}) is a slow one whose pieces cannot be read; wanted "
        f"{UNDERSTOOD}: save it as a fast one (tokenizer.json), or use another model"
    )


def _digest(tokenizer: Any, rules: dict[str, Any] | None, pieces: list[str | bytes | None]) -> str:
    """SHA-256 of what makes ids of text and text of ids.

    Truncation, padding and the post-processor are left out: callers switch them, and no token changes by it.
    """
    kept = ("model", "normalizer", "pre_tokenizer", "decoder", "added_tokens")
    content = {
        "pieces": [piece.hex() if isinstance(piece, bytes) else piece for piece in pieces],
        "roles": {role: getattr(tokenizer, f"{role}_token_id", None) for role in ROLES},
        "rules": type(tokenizer).__name__ if rules is None else {part: rules.get(part) for part in kept},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
