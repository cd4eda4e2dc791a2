"""Alignment of vocabularies by strings: nearest strings, and unions of the most probable tokens.

MinED (the token alignment of FuseLLM, arXiv 2401.10491, section 3.2) maps each token to the nearest string of another
vocabulary; UniTE (arXiv 2410.03777) lets all models vote on the union of their top tokens.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from swarm.members.fusion.vocabulary import PIECE, TEXT, Key, Vocabulary
from swarm.text.edit_distance import NearestStrings

NONE = -1  # where a vocabulary has nothing for a token

BEFORE = ("\n", ".", "a", "1")  # what a text is put behind to see how it is written in the middle of another

Encode = Callable[[str], Sequence[int]]
"""The ids of a text in the middle of another: without BOS, without a blank put in front."""


def nearest_tokens(source: Vocabulary, target: Vocabulary) -> torch.Tensor:
    """(V_source,) int64: for every token of `source` the token of `target` whose string is nearest.

    The same key comes first, then the least edit distance, counted in characters (a leading blank is one; a byte that
    is no UTF-8 by itself is one character of its own). Of several that are equally near, the lowest id. Special
    tokens are mapped by their key alone; those without counterpart, and ids without a token, are -1.
    """
    found = torch.full((len(source),), NONE, dtype=torch.int64)
    ids = [token for token in sorted(target.ids.values()) if target.content(token) is not None]
    nearest = NearestStrings([_string(target.keys[token]) for token in ids])
    known: dict[Key, int] = dict(target.ids)
    for token, key in enumerate(source.keys):
        if key is None:
            continue
        if key not in known:
            is_text = bool(ids) and key[0] in (TEXT, PIECE)
            known[key] = ids[nearest.nearest(_string(key))[0]] if is_text else NONE
        found[token] = known[key]
    return found


def union_keys(tops: Iterable[Iterable[Key]]) -> list[Key]:
    """The keys of several models' top tokens, each once, in the order in which they come."""
    return list(dict.fromkeys(key for top in tops for key in top))


def union_ids(keys: Sequence[Key], vocabulary: Vocabulary, encode: Encode | None = None) -> list[int]:
    """For every token of a union its id in a vocabulary: of the same key, else of the first sub-token of its text.

    `encode` is that vocabulary's tokenizer; without it, and for bytes that are no text, the first sub-token is the
    longest token that the bytes begin with. Special tokens go by their key alone. -1 where there is none.
    """
    return [_union_id(key, vocabulary, encode) for key in keys]


def encoder_within(tokenizer: Any, vocabulary: Vocabulary) -> Encode:
    """A function from a text in the middle of another one to its ids, for a vocabulary by the rule "bytes".

    Empty where it joins the text to whatever is put before.
    """

    def encode(text: str) -> list[int]:
        for before in BEFORE:
            lead, whole = (tokenizer(some, add_special_tokens=False)["input_ids"] for some in (before, before + text))
            own = [vocabulary.content(token) for token in whole[len(lead) :]]
            if lead and whole[: len(lead)] == lead and None not in own and b"".join(filter(None, own)) == text.encode():
                return list(whole[len(lead) :])
        return []

    return encode


def _union_id(key: Key, vocabulary: Vocabulary, encode: Encode | None) -> int:
    if key in vocabulary.ids:
        return vocabulary.ids[key]
    if key[0] not in (TEXT, PIECE):
        return NONE
    if encode is not None:
        try:
            pieces = encode(key[1].decode())
        except UnicodeDecodeError:
            pieces = []
        if pieces:
            return int(pieces[0])
    kind, content = key
    starts = (vocabulary.ids.get((kind, content[:length])) for length in range(len(content) - 1, 0, -1))
    return next((token for token in starts if token is not None), NONE)


def _string(key: Key | None) -> str:
    """The characters of a token's content; a byte that is no UTF-8 becomes a character that no text has."""
    return "" if key is None else key[1].decode(errors="surrogateescape")
