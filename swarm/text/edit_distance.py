"""Nearest strings by edit distance, in lists of tens of thousands.

Two lower bounds leave few strings to reckon with: the difference in length, and the letters that one has and the other
has not. What is left goes through Myers' bit-parallel recurrence (Hyyrö's form of it: one integer holds a column of the
table of distances), for all strings side by side.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

_WORDS = 2  # of 64 bits, that say which letters a string has
_LONGEST = 63  # letters that fit into a 64-bit column; longer ones take Python's own integers, which are slow


class NearestStrings:
    """An index of strings for nearest-neighbour search by edit distance."""

    def __init__(self, strings: Sequence[str]) -> None:
        """Prepares the list; its order decides between strings that are equally near: the first is taken."""
        by_length = sorted(range(len(strings)), key=lambda index: (len(strings[index]), index))
        self._order = np.array(by_length, dtype=np.int64)
        ordered = [strings[index] for index in by_length]
        self._lengths = np.array([len(string) for string in ordered], dtype=np.int32)
        self._letters = np.zeros((len(ordered), int(self._lengths.max(initial=0))), dtype=np.int32)
        for row, string in enumerate(ordered):
            self._letters[row, : len(string)] = _codes(string)
        signatures = np.array([_signature(string) for string in ordered], dtype=np.uint64).reshape(-1, _WORDS)
        self._signatures = np.ascontiguousarray(signatures.T)

    def nearest(self, string: str) -> tuple[int, int]:
        """The index of the nearest string, and its edit distance: letters put in, left out or exchanged.

        Raises ValueError for an empty list.
        """
        if not len(self._order):
            raise ValueError("no string is nearest where there are none")
        bounds = self._bounds(string)
        index, best, bound = -1, int(bounds.max()) + len(string) + 1, int(bounds.min())
        while bound <= best:  # what has a larger bound is farther away
            rows = np.flatnonzero(bounds == bound)
            bound += 1
            if len(rows):
                distances = self._distances(string, rows)
                least = int(distances.min())
                first = int(self._order[rows[distances == least]].min())
                if (least, first) < (best, index):
                    best, index = least, first
        return index, best

    def _bounds(self, string: str) -> np.ndarray:
        """A lower bound of every string's distance; in the order of their lengths."""
        bounds = np.abs(self._lengths - len(string))
        missing = np.zeros(len(bounds), dtype=np.uint8)
        excess = np.zeros(len(bounds), dtype=np.uint8)
        for own, others in zip(np.array(_signature(string), dtype=np.uint64), self._signatures, strict=True):
            missing += np.bitwise_count(own & ~others)
            excess += np.bitwise_count(others & ~own)
        return np.maximum(bounds, np.maximum(missing, excess))

    def _distances(self, string: str, rows: np.ndarray) -> np.ndarray:
        """The distances of the strings in these rows, which are in ascending order and so ordered by length."""
        lengths, letters = self._lengths[rows], self._letters[rows]
        if not string:
            return lengths
        kind: Any = np.uint64 if len(string) <= _LONGEST else object
        full, last, one = (_integer(kind, value) for value in ((1 << len(string)) - 1, len(string) - 1, 1))
        columns = _matches(string, letters[:, : int(lengths[-1])], kind)
        up = np.full(len(rows), full, dtype=kind)  # bit i: going down the column, the distance grows in row i, ...
        down = np.full(len(rows), full ^ full, dtype=kind)  # ... or falls
        score = np.full(len(rows), len(string), dtype=np.int64)
        for column in range(columns.shape[1]):
            going = slice(int(np.searchsorted(lengths, column, side="right")), None)
            same, plus, minus = columns[going, column], up[going], down[going]
            level = (((same & plus) + plus) ^ plus) | same
            right_up, right_down = minus | (full & ~(level | plus)), plus & level
            score[going] += ((right_up >> last) & one).astype(np.int64)
            score[going] -= ((right_down >> last) & one).astype(np.int64)
            right_up, right_down = (right_up << one) | one, right_down << one
            up[going] = full & (right_down | ~(same | minus | right_up))
            down[going] = full & right_up & (same | minus)
        return score


def _codes(string: str) -> list[int]:
    return [ord(letter) for letter in string]


def _signature(string: str) -> list[int]:
    """A bit for each letter with its number (the first "o", the second "o"), folded into a few words.

    A bit that one string has and the other has not is a letter that one edit at least must mend.
    """
    words, seen = [0] * _WORDS, dict[str, int]()
    for letter in string:
        number = seen[letter] = seen.get(letter, 0) + 1
        bit = (ord(letter) * 37 + number * 101) % (64 * _WORDS)
        words[bit // 64] |= 1 << bit % 64
    return words


def _integer(kind: Any, value: int) -> Any:
    return value if kind is object else kind(value)


def _matches(string: str, letters: np.ndarray, kind: Any) -> np.ndarray:
    """For every letter of a table the positions at which the string has it, as the bits of an integer."""
    positions: dict[int, int] = {}
    for index, code in enumerate(_codes(string)):
        positions[code] = positions.get(code, 0) | 1 << index
    known = np.array(sorted(positions), dtype=np.int64)
    bits = np.array([positions[code] for code in known.tolist()] + [0], dtype=kind)
    at = np.minimum(np.searchsorted(known, letters), len(known) - 1)
    return bits[np.where(known[at] == letters, at, len(known))]
