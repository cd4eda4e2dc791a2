"""Parsing of replies: lines, what a model goes on with, answer markers, words, in any script."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from swarm.text.thoughts import without_answer_tags, without_thoughts

# Thai to Khmer, Hangul, Kana, Han: written without blanks (Hangul with, but with its particles joined on), so that a
# neighbour in one of them does not make a word go on.
_UNBLANKED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = rf"[^\W{_UNBLANKED}]"  # a character that makes a word go on
_UNBLANKED_CHARACTER = re.compile(f"[{_UNBLANKED}]")
NO_LETTER = "\u3013"

# The word "answer" and what stands between it and the answer, in the languages of mgsm and some more.
_COPULA = (
    r"ist|lautet|wäre|est|es|é|è|is|ni|jest|равен|равно|составляет|будет|হল|হলো|হচ্ছে|है|هي|هو|คือ|อยู่ที่|"
    r"は|은|는|是|为|為|等于"
)
_ANSWERS = (
    r"antwort(?:en)?|lösung|réponses?|respuestas?|resposta|risposta|antwoord|ответ|odpowied[źz]|jibu|উত্তর|సమాధానం|उत्तर|"
    r"الإجابة|الجواب|คำตอบ|答案|答え|答|解答|정답|답"
)
_FOREIGN_MARKER = (
    rf"(?:{_ANSWERS})[*_\"')]*(?:\s+(?!(?:{_COPULA})\b)[^\W\d]{{1,12}})?(?:\s*[:=]|\s+[–—-](?=\s)|\s*(?:{_COPULA}))"
)
# "The answer is", "Answer:", "the answer to the question is", "\boxed{", gsm8k's own "####" where it opens no heading.
ANSWER_MARKER = re.compile(
    r"####(?=\s*[-$]?\d|\s*\S+(?:\n|$))|\\boxed\s*\{|"
    r"\banswers?\b[*_\"')]*(?:\s(?:to|for)\s[^.:?!]{1,80}?)?"
    rf"(?:\s*[:=]|\s+(?:is|are|was|(?:would|should|must|will) be)\b(?!\s+not\b))|{_FOREIGN_MARKER}",
    re.IGNORECASE,
)
_FOREIGN = re.compile(_FOREIGN_MARKER, re.IGNORECASE)
_FOREIGN_ANSWERS = ("antwort", "respuesta", "resposta", "risposta", "antwoord", "odpowied", "jibu")  # those in ASCII
MARKER_BEGINNINGS = ("answer", "####", "\\boxed", *_FOREIGN_ANSWERS)  # one of which every marker in ASCII begins with
_LATIN_WORD = re.compile(r"[a-z]+")
# What a reason begins with: numbers and letters in it are no answer.
BECAUSE = (
    r"(?:(?<![^\W\d_])(?:because|since|as|weil|denn|da|car|parce\s+que|puisque|porque|ya\s+que|pues|pois|perché|poiché|omdat|want|"
    r"потому\s+что|так\s+как|поскольку|ponieważ|kwa\s+sababu|kwani|কারণ|क्योंकि|لأن)\b|因为|因為|なぜなら|เพราะ|왜냐하면|ఎందుకంటే)"
)
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")
_TAG = re.compile(r"</?(?:strong|em|br|span|div|li|ul|ol|h[1-6])\s?/?>|</(?:b|i|u|p)>", re.IGNORECASE)
_BEGINNING = 30  # characters by which the beginning of what was asked is told
_ASKS = (
    r"question|q|problem|exercise|task|human|user|instruction|input|frage|aufgabe|pregunta|problema|pergunta|domanda|"
    r"вопрос|swali|প্রশ্ন|ప్రశ్న|प्रश्न|سؤال|คำถาม|问题|問題|题目|質問|질문"
)
# On a line of its own, or where there are no lines, "Question:" anywhere and others behind the end of a sentence.
_QUESTION_LINE = re.compile(
    rf"\n[\s#*_\[(<|]*(?:{_ASKS})[\s_*\])>|]*(?:\d{{1,4}}[*_\])]*\s*)?[:：.](?!\d)", re.IGNORECASE
)
_QUESTION_INLINE = re.compile(r"\bQuestion:|(?<=[\w.!?)}*\"'])\s+(?:Q|Problem|Exercise|Human|User)\s?\d{0,3}:\s")
_ASKED = ("Question:", "Q", "Problem", "Exercise", "Human", "User")  # no question inline is without one of them
_WORD_CHARACTER = re.compile(r"\w")


def _spelling() -> dict[int, str]:
    """Plain quotes and minus signs; and what NFKC would make a wrong number or word of: "5²" no 52, "№" no "No"."""
    table = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "−": "-", "№": "Nr. ", "⁄": "/"})
    for code in (*range(0xB2, 0xBF), *range(0x2070, 0x208A), *range(0x2150, 0x215F)):
        kind, _, parts = unicodedata.decomposition(chr(code)).partition(" ")
        plain = "".join(chr(int(part, 16)) for part in parts.split())
        if kind == "<fraction>":
            table[code] = " " + plain.replace("⁄", "/")
        elif kind in ("<super>", "<sub>") and plain.isdigit():
            table[code] = ("^" if kind == "<super>" else "_") + plain
    return table


_SPELLING = _spelling()
_OTHER_WORDS = re.compile(
    r"\b(?:und|nicht|eine|wird|sind|werden|il y a|nous|donc|avec|pour|los|las|una|por lo tanto|entonces|portanto|"
    r"quindi|sono|het|een)\b|[\u0400-\u04ff]",
    re.IGNORECASE,
)
_OTHER_FIRST_WORDS = {
    "und", "nicht", "eine", "wird", "sind", "werden", "il", "nous", "donc", "avec", "pour", "los", "las", "una", "por",
    "entonces", "portanto", "quindi", "sono", "het", "een",
}  # fmt: skip
_DIGIT = re.compile(r"[^\W_a-zA-Z\x00-\x7f]")


def _in_latin_digits(text: str) -> str:
    return text if text.isascii() else _DIGIT.sub(lambda one: str(unicodedata.decimal(one[0], one[0])), text)


def one_line(text: str) -> str:
    """The text with runs of blanks and line ends as one space, with plain quotes and minus signs, and under NFKC."""
    if text.isascii():
        return " ".join(text.split())
    return _in_latin_digits(
        " ".join(unicodedata.normalize("NFKC", text.translate(_SPELLING)).translate(_SPELLING).split())
    )


def unjoined(text: str, keep: Iterable[str] = ()) -> str:
    """The text, as long as before, with a sign for each character that makes no word go on, except those in `keep`.

    For patterns with many a word's end in them: to spell such characters out there would make them slow to build.
    """
    own = "".join(keep)
    return text if text.isascii() else _UNBLANKED_CHARACTER.sub(lambda c: c[0] if c[0] in own else NO_LETTER, text)


def lined(text: str) -> str:
    """The text with each of its lines as `one_line` has it, without empty ones."""
    return "\n".join(line for raw in text.splitlines() if (line := one_line(raw)))


def own_text(reply: str, *asked: str) -> str:
    """What a reply itself says, in lines: without thoughts, and without verbatim repetitions of what was asked.

    Fewer than three words are not taken for a repetition: an answer may well hold them.
    """
    said = lined(_TAG.sub(" ", without_answer_tags(without_thoughts(reply))))
    for text in sorted(map(one_line, asked), key=len, reverse=True):
        if len(text.split()) < 3:
            continue
        flat, start = said.replace("\n", " "), 0
        pieces = []
        while (found := flat.find(text, start)) >= 0:
            pieces.append(said[start:found])
            start = found + len(text)
        rest = _without_cut_copy(said[start:], text, least=1 if pieces else _BEGINNING)
        said = " ".join([*pieces, rest]) if pieces else rest
    return said


def _without_cut_copy(said: str, text: str, least: int) -> str:
    """What is said, less the beginning of `text` that it ends with, if that has `least` characters."""
    flat = said.replace("\n", " ")
    start = flat.rfind(text[:least])
    if start >= 0 and flat[start - 1 : start].strip() == "" and text.startswith(flat[start:]):
        return said[:start]
    return said


def own_part_first(text: str) -> tuple[str, ...]:
    """The text before the next question, for a model may go on with one of its own; then all of the text.

    The second is for where the first says nothing.
    """
    found = _next_question(text)
    return tuple(dict.fromkeys((text[: found.start()] if found else text, text)))


def _next_question(text: str) -> re.Match[str] | None:
    """The first of a text's questions that words stand before."""
    said = _WORD_CHARACTER.search(text)
    if said is None:
        return None
    found: list[re.Match[str]] = []
    start = 0
    while True:  # at each line's end, which is quicker than to look for it everywhere
        start = text.find("\n", max(start, said.start()))
        if start < 0:
            break
        if one := _QUESTION_LINE.match(text, start):
            found.append(one)
            break
        start += 1
    if has_any(text, _ASKED):
        found += filter(None, [_QUESTION_INLINE.search(text, said.end())])
    return min(found, key=lambda one: one.start(), default=None)


def speaks_english(text: str) -> bool:
    """Whether nothing tells that a reply is in another language, whose numbers are written otherwise."""
    if text.isascii():
        folded = text.casefold()
        if not has_any(folded, _FOREIGN_ANSWERS) and _OTHER_FIRST_WORDS.isdisjoint(_LATIN_WORD.findall(folded)):
            return True
    return not _FOREIGN.search(text) and not _OTHER_WORDS.search(text)


def has_any(text: str, parts: Iterable[str]) -> bool:
    """Whether a text has any of these parts; a quick way to leave a slow pattern alone that wants one of them."""
    return any(part in text for part in parts)


def matches(pattern: re.Pattern[str], text: str, beginnings: Sequence[str]) -> Iterator[re.Match[str]]:
    """The matches of a pattern, as its `finditer` has them, which in ASCII begin with one of these in any case.

    To look for plain texts first is several times as quick as to try a pattern of many alternatives everywhere.
    """
    if not text.isascii():
        yield from pattern.finditer(text)
        return
    folded, end = text.casefold(), 0
    for start in sorted({start for one in beginnings for start in _places(one, folded)}):
        if start >= end and (found := pattern.match(text, start)):
            yield found
            end = found.end()


def _places(part: str, text: str) -> Iterator[int]:
    start = text.find(part)
    while start >= 0:
        yield start
        start = text.find(part, start + 1)


def after_markers(text: str) -> list[str]:
    """The texts behind each answer marker, up to the next one; the last marker first."""
    segments, end = [], len(text)
    for marker in reversed(list(matches(ANSWER_MARKER, text, MARKER_BEGINNINGS))):
        segments.append(text[marker.end() : end])
        end = marker.start()
    return segments


def sentence_at(text: str, position: int) -> str:
    """The sentence that holds this position of a text on one line."""
    start = max(text.rfind(f"{mark} ", 0, position) for mark in ".!?") + 1
    end = _SENTENCE_END.search(text, position)
    return text[start : end.end() if end else len(text)]


def phrase_spans(phrase: str, text: str) -> list[tuple[int, int]]:
    """Spans of the phrase in the text as whole words, in any case; in characters of the case-folded text.

    "no" does not stand in "none" or "no-one", nor does "5" in "1.5", "-5", "1/5" or "5,000".
    """
    phrase, text = phrase.casefold(), text.casefold()
    found, start = [], text.find(phrase) if phrase else -1
    while start >= 0:
        end = start + len(phrase)
        if not (_joined_before(text[max(0, start - 2) : start], phrase) or _joined_after(text[end : end + 2], phrase)):
            found.append((start, end))
        start = text.find(phrase, start + 1)
    return found


def _joined_before(left: str, phrase: str) -> bool:
    """Does the phrase go on to the left, where these two characters stand?"""
    if phrase[0].isdigit() and re.search(r"\d[.,:/]$|[-^/]$", left):
        return True
    return _in_word(phrase[0]) and bool(re.search(rf"{_WORD}[-'’]?$", left))


def _joined_after(right: str, phrase: str) -> bool:
    """Does the phrase go on to the right, where these two characters stand?"""
    if phrase[-1].isdigit() and re.match(r"[.,:/]\d|\^", right):
        return True
    return _in_word(phrase[-1]) and bool(re.match(rf"[-'’]?{_WORD}", right))


def _in_word(character: str) -> bool:
    """Is it a letter or digit that its neighbours can make part of a longer word?"""
    return character.isalnum() and re.match(_WORD, character) is not None
