"""Texts from elsewhere with their control characters made visible, so that none of them commands a terminal."""

import re

# C0 but tabulator and line end, DEL, C1, line separators, what turns the direction of writing, halves of a pair
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with each control character but tabulator and line end as Python writes it, such as \\x1b."""
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_line(text: str) -> str:
    """As `visible`, on one line."""
    return visible(text).replace("\n", "\\n")
