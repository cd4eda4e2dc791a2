"""What a model thinks aloud before it answers, told from its answer by the markers that models put around it."""

import re

_NAMES = "think|thinking|thought|thoughts|reason|reasoning|reflection|scratchpad|analysis|inner_monologue"
_OPENING = re.compile(
    rf"<\s*(?:{_NAMES})\s*>|\[\s*think(?:ing)?\s*\]|◁\s*think\s*▷|<\|begin_of_thought\|>|<\|channel\|>\s*analysis\s*<\|message\|>|"
    r"\A\s*analysis(?=[A-Z])(?=.*assistant\s*final)",  # as it is left where special tokens have been removed
    re.IGNORECASE | re.DOTALL,
)
_CLOSING = re.compile(
    rf"<\s*/\s*(?:{_NAMES})\s*>|\[\s*/\s*think(?:ing)?\s*\]|◁\s*/\s*think\s*▷|<\|end_of_thought\|>|"
    r"<\|channel\|>\s*final\s*<\|message\|>|assistant\s*final(?=\W|[A-Z0-9]|\Z)",
    re.IGNORECASE,
)
_AROUND_THE_ANSWER = re.compile(
    r"<\s*/?\s*(?:answer|output|response|final_answer|solution)\s*>|<\|(?:begin|end)_of_solution\|>", re.IGNORECASE
)


def without_thoughts(text: str) -> str:
    """The text less what is thought in it: opened and closed, closed only (a template had opened it), or never closed.

    A text that has no such marker stays as it is. One that is cut off within its thoughts has no answer: "".
    """
    if not any(mark in text for mark in "<[◁") and "assistant" not in text.casefold():
        return text  # at once: every marker has one of these
    if not _OPENING.search(text) and not _CLOSING.search(text):
        return text
    closed = list(_CLOSING.finditer(text))
    if closed:  # whatever stands before the last closing marker is thought: blocks may be nested, and several
        rest = text[closed[-1].end() :]
        before = _said_before(text)
        rest = f"{before} {rest}" if before and not rest.strip() else rest
    else:
        rest = text
    opened = _OPENING.search(rest)
    return (rest[: opened.start()] if opened else rest).strip()


def _said_before(text: str) -> str:
    """What stands before the first opening marker: all that there is where nothing follows the thoughts."""
    opened = _OPENING.search(text)
    return text[: opened.start()].strip() if opened else ""


def without_answer_tags(text: str) -> str:
    """The text less the tags that some models put around their answer ("<answer>18</answer>")."""
    return _AROUND_THE_ANSWER.sub(" ", text)
