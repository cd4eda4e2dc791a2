"""Lettered choices as replies write them."""

import re
from dataclasses import dataclass
from functools import lru_cache

# Words that an article "A" cannot stand before, so that the "A" in front of them is a letter.
_AFTER_LETTER = "because|since|is|as|with|in|by|for|from|but|due|based|which|that|if|so|according|at|on|of"


@dataclass(frozen=True)
class Letters:
    """Patterns of a question's keys where they are letters, not words or parts of words."""

    keys: tuple[str, ...]
    alone: re.Pattern[str]  # anywhere
    picked: re.Pattern[str]  # where a pick is expected
    opening: re.Pattern[str]  # at a reply's start
    praised: re.Pattern[str]  # "B is correct"
    concluded: re.Pattern[str]  # "therefore B."
    option: re.Pattern[str]  # "option B"
    denied: re.Pattern[str]  # what follows a key that is ruled out
    judged: re.Pattern[str]  # "A: correct", "B - no"

    def key(self, written: str) -> str:
        """The key that was written, perhaps in the other case."""
        return written if written in self.keys else next(key for key in self.keys if key.lower() == written.lower())


@lru_cache(maxsize=256)
def letters(keys: tuple[str, ...], any_case: bool) -> Letters:
    """The patterns for these keys; with `any_case`, "b." means B where a pick is expected."""
    one_of = "|".join(sorted(map(re.escape, keys), key=len, reverse=True))
    # Not in "B-cell", "I'm", "1.5", "U.S.A", "A.M." or "5 °C".
    one = rf"(?<![\w°])(?<!\w[-'])(?<!\d[.,])(?<!\b\w\.)(?:{one_of})(?!\w)(?![-']\w)(?![.,]\d)(?!\.\w\b)"
    # "A" and "I" are words in "A good idea" and "I think", letters in "A because", "A is right" and "A or B".
    joined = rf"(?:and|or|not|and not)\s+\W?{one}"
    article = rf"[Aa]\s+(?!(?:{_AFTER_LETTER})\b|{joined})[a-z\d]"
    word = rf"{article}|[Ii]\s+(?!(?:because|since|is)\b|{joined})[a-z\d]|I,\s+[a-z]"
    alone = rf"(?!{word}){one}"
    closing, ruled_out = r"[)\]*\"'.]*", r"(?:\w+\s+)?(?:not|wrong|incorrect|false)"
    denied = rf"(?i:{closing}\s+(?:(?:is|are)(?:n't|\s+{ruled_out})|can't|cannot|doesn't|does\s+not)\b)"
    no_subject = (
        r"(?![)\]*\"'.]*\s+(?:is|are|was|were|has|have|does|do|can|will|would|ist|est|es)\b)"  # "B, A is wrong"
    )
    between = r"(?:\s*[,;、/&|]\s*(?:(?:and|or)\s+)?|\s+(?:(?:[-–—]|and|or)\s+)?)"
    several = rf"[)\]*\"']*{between}[(\[*\"']*{alone}{no_subject}"
    ended = r"(?=\s*$|[.):,;\]}*\"'。、]|\s+[-–—=]\s)"
    # A line's end in the reply has become a blank: "B Explanation: ..." opens with B, "A Tale" and "I Think" with none.
    led_on = r"(?=\s+(?:because|since|as|(?:Explanation|Reason(?:ing)?|Rationale):?)\b)|(?<![AI])(?=\s+[A-Z(])"
    loose = rf"|(?!{word})(?i:{one}){ended}(?!{several})" if any_case else ""
    return Letters(
        keys,
        alone=re.compile(alone),
        picked=re.compile(rf"(?:{alone}{loose})(?!{several})(?!{denied})"),
        opening=re.compile(rf"(?:{alone}(?:{ended}|{led_on}){loose})(?!{several})(?!{denied})"),
        praised=re.compile(
            rf"({one})(?i:{closing}\s+(?:is|would be)\s+(?:(?:the|my)\s+)?(?:(?:most|only)\s+)?"
            r"(?:correct|right|best|answer|accurate|appropriate|likely)\b)"
        ),
        concluded=re.compile(
            rf"(?i:\b(?:therefore|thus|hence|so)\b),?\s+[(\[*\"']*({alone})(?=[)\]*\"']*(?:\s*$|[.!]))"
        ),
        option=re.compile(rf"(?i:\b(?:option|choice|letter|answer))\s+[(\[*\"']*({alone})"),
        denied=re.compile(denied),
        judged=re.compile(
            rf"({one})[)\]*\"'.]*(?:\s*[:,–—-]\s*|\s+(?i:is)\s+|\s*)(?i:(incorrect|correct|right|wrong|yes|no|true|false))(?!\w)"
        ),
    )
