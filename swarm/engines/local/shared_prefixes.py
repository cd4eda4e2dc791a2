"""Prefixes that several prompts share, so that they are prefilled once."""

from collections.abc import Sequence
from itertools import groupby

Tokens = list[int]

# tokens that must be saved: by one class of rows, whose beginning is written into each; and by all of them together,
# since their beginnings take a forward pass of their own
BY_A_CLASS, BY_ALL = 32, 256
DEEPEST = 50  # times that a class is split at most, one split within another


def shared_prefixes(rows: Sequence[Tokens], most: int) -> list[int]:
    """The length of the prefix that every row shares with others, 0 where none is worth it.

    Rows are put into classes so that most tokens are saved: a class of k rows that begin with the same p tokens saves
    (k - 1) p. Every row keeps at least one token of its own. The beginnings together have at most `most` tokens.
    """
    lengths = [0] * len(rows)
    order = sorted(range(len(rows)), key=rows.__getitem__)
    found, start, saved = [], 0, 0
    for count, shared in _best_classes([rows[index] for index in order])[1]:
        members = order[start : start + count]
        start += count
        shared = min(shared, min(len(rows[index]) for index in members) - 1)
        if (count - 1) * shared >= BY_A_CLASS:
            found.append((shared, members))
            saved += (count - 1) * shared
    if saved < BY_ALL:
        return lengths
    for shared, members in sorted(found, key=lambda one: -one[0] * (len(one[1]) - 1)):
        if shared <= most:
            most -= shared
            for index in members:
                lengths[index] = shared
    return lengths


def _best_classes(rows: list[Tokens], splits: int = DEEPEST) -> tuple[int, list[tuple[int, int]]]:
    """Tokens saved, and the classes as (rows, tokens that they share), for sorted rows."""
    if not rows:
        return 0, []
    shared = common_prefix(rows[0], rows[-1])
    whole = (len(rows) - 1) * shared
    at_best = (len(rows) - 1) * max(map(len, rows))
    if len(rows) < 3 or rows[0] == rows[-1] or not splits or at_best < BY_A_CLASS:
        return whole, [(len(rows), shared)]
    saved, classes = 0, []
    for _, children in groupby(rows, key=lambda row: row[shared] if len(row) > shared else None):
        child_saved, child_classes = _best_classes(list(children), splits - 1)
        saved += child_saved
        classes += child_classes
    return (saved, classes) if saved > whole else (whole, [(len(rows), shared)])


def common_prefix(one: Tokens, other: Tokens) -> int:
    """The length of the longest common prefix of two rows."""
    same, most = 0, min(len(one), len(other))
    if one[:most] == other[:most]:
        return most
    while most - same > 1:  # slices are compared faster than their elements one by one
        middle = (same + most) // 2
        same, most = (middle, most) if one[same:middle] == other[same:middle] else (same, middle)
    return same
