"""What it costs to read an answer out of a reply, of every kind, and what that grows to with the reply's length."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.measure import Row, Seconds, below, exactly, interleaved, median_of
from swarm.text.answers import final_word
from swarm.text.numbers import final_number
from swarm.text.phrases import names
from swarm.text.picks import picked_key
from swarm.text.ratings import read_rating
from swarm.text.replies import own_text


@dataclass(frozen=True)
class Size:
    """Letters of a reply, of a long one, and how many of the first are read at a time."""

    letters: int = 500
    long: int = 1_000_000
    replies: int = 100


SMALL = Size(letters=100, long=2000, replies=2)

QUESTION = "A baker bakes 12 trays of 15 rolls each and sells two thirds of them. How many rolls are left?"
CHOICES = {"A": "forty rolls", "B": "sixty rolls", "C": "ninety rolls", "D": "none of them"}
WORKING = (
    "First we count: 12 trays of 15 rolls are 12 * 15 = 180 rolls, not 200.\nTwo thirds of them, that is $120, "
    "are sold; yes, all of these on Monday, so option C is wrong.\nWhat is left are 180 - 120 = 60 rolls in the shop.\n"
)
READERS: dict[str, Callable[[str], object]] = {
    "a number": lambda reply: final_number(own_text(reply, QUESTION)),
    "one of two words": lambda reply: final_word(own_text(reply, QUESTION), ("yes", "no")),
    "a phrase": lambda reply: names("sixty rolls", own_text(reply, QUESTION)),
    "a letter": lambda reply: picked_key(reply, CHOICES, (QUESTION,)),
    "a rating": read_rating,
}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def rows(size: Size, repeats: int) -> list[Row]:
    """Microseconds a reply, beside a plain search for numbers; and a letter of a long reply beside one of a short."""
    replies = [_reply(size.letters, index) for index in range(size.replies)]
    long = _reply(size.long, 0)
    found = []
    for kind, read in READERS.items():

        def each(read: Callable[[str], object] = read) -> None:
            for reply in replies:
                read(reply)

        def once(read: Callable[[str], object] = read) -> Seconds:
            begun = time.perf_counter()
            read(long)
            return Seconds(time.perf_counter() - begun)

        seconds = interleaved({"ours": each, "floor": lambda: [_NUMBER.findall(reply) for reply in replies]}, repeats)
        whole = interleaved({"long": once}, min(repeats, 2))["long"]
        short = median_of(seconds["ours"], "µs", 1e6 / size.replies)
        growth = (min(whole) * 1e6 / size.long) / (short.value / size.letters)
        found.append(
            Row(
                f"reading: {kind}",
                short,
                floor=median_of(seconds["floor"], "µs", 1e6 / size.replies),
                goals=(below(200),),
                note=f"replies of {size.letters} letters; floor: a plain search for numbers",
            )
        )
        found.append(
            Row(
                f"reading: {kind}, growth",
                exactly(growth, "times"),
                goals=(below(3),),
                note=f"time for a letter of a reply of {size.long:,} letters against one of {size.letters}",
            )
        )
    return found


def _reply(letters: int, index: int) -> str:
    """A working of so many letters that ends with an answer; replies of other indices are others."""
    end = f"\nThe answer is {60 + index} rolls, so B.\nRating: {1 + index % 10}/10"
    return (WORKING * (letters // len(WORKING) + 1))[: letters - len(end)] + end
