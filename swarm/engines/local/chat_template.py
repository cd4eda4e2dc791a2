"""Rendering of prompts: by the tokenizer's chat template with a fixed date, or as they are."""

import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import jinja2

from swarm.engines.base import GenerationParams, Turn
from swarm.engines.local.time_limit import EndlessError, ended_after
from swarm.engines.overrides import Argument
from swarm.errors import UserError

# what Llama's own template says where there is no clock
TODAY = datetime.datetime(2024, 7, 26)
GRACE = 10.0  # seconds that a template may take; any that is meant to be used takes a thousandth of that
_PROBE, _SYSTEM = "h-swarm's question", "h-swarm's rule"
FAULTS = (jinja2.TemplateError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
           MemoryError)  # fmt: skip
_DIRECTIVES = """%-d %-m %-y %-H %-I %-M %-S %-j %a %A %w %d %b %B %m %y %Y %H %I %p %M %S %f %z %Z %j %U %W %c %x %X %e
%F %T""".split()


@dataclass(frozen=True)
class Told:
    """What a chat template is told beside the question.

    Attributes:
      system: the system message; None for none.
      arguments: by name, such as enable_thinking.
      history: earlier turns.
    """

    system: str | None = None
    arguments: tuple[tuple[str, Argument], ...] = ()
    history: tuple[Turn, ...] = ()


NOTHING = Told()


def rendered(
    tokenizer: Any, prompts: list[str], params: GenerationParams, history: Sequence[Turn] = ()
) -> tuple[list[str], bool]:
    """The rendered prompts, and whether the tokenizer adds special tokens to them.

    In the tokenizer's chat template where that is asked for and there is one, which brings its own <bos>. Without it
    the `history` of a conversation cannot be told. Raises UserError for a system message, or arguments of a template,
    where there is none, and as `in_chat_template` does.
    """
    chat = params.chat and bool(tokenizer.chat_template)
    told = Told(params.system_message, params.chat_template_kwargs, tuple(history))
    if params.chat and not chat and (told.system is not None or told.arguments):
        what = "system_message" if told.system is not None else "chat_template_kwargs"
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path} has no chat template for --{what}: leave it out, or use a base "
            "with one"
        )
    return (in_chat_template(tokenizer, prompts, told) if chat else prompts), not chat or params.second_bos


def tells_history(tokenizer: Any, params: GenerationParams) -> bool:
    """Whether prompts can follow earlier turns: the chat template is used, and has them all in it."""
    turns = ("first question", "first answer"), ("second question", "second answer")
    try:
        [text] = rendered(tokenizer, ["last question"], params, turns)[0]
    except UserError:  # by some, only one turn is allowed
        return False
    found = [
        text.find(part)
        for part in ("first question", "first answer", "second question", "second answer", "last question")
    ]
    return min(found) >= 0 and found == sorted(found)


def check_not_empty(whose: str, lengths: Iterable[int]) -> None:
    """Raises UserError for a prompt without a token; `whose` is the tokenizer, as messages say it."""
    if not all(lengths):
        raise UserError(
            f"a prompt is empty for the tokenizer of {whose}, which adds nothing to it; wanted at least one token: "
            "remove empty questions from the data, or use the chat template (--chat)"
        )


def in_chat_template(tokenizer: Any, prompts: list[str], told: Told = NOTHING) -> list[str]:
    """Every prompt as a user's turn behind what is `told`, up to where the answer begins; the date is always `TODAY`.

    An answer must not depend on the day on which it is asked for, or a search that goes on tomorrow is another one, and
    what is kept is not what would be generated. Raises UserError for a template that raises, loses the question or the
    system message, knows no such argument, or does not come to an end.
    """
    template = on_a_fixed_day(tokenizer.get_chat_template())
    with refused(tokenizer):
        content = content_form(tokenizer, template)
    if told.system is not None:
        _check_system_role(tokenizer, template, content)
    for name, _ in told.arguments:
        check_argument(tokenizer, name)
    before = [
        {"role": role, "content": content(text)}
        for turn in told.history
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    if told.system is not None:
        before.insert(0, {"role": "system", "content": content(told.system)})
    with refused(tokenizer, GRACE + len(prompts) * GRACE / 1000):
        return [
            _written(tokenizer, template, [*before, {"role": "user", "content": content(prompt)}], told.arguments)
            for prompt in prompts
        ]


def _written(tokenizer: Any, template: str, messages: list[Any], arguments: Iterable[tuple[str, Any]] = ()) -> str:
    """The messages in a chat template, up to where the answer begins."""
    text: str = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=True, **dict(arguments)
    )
    return text


def check_argument(tokenizer: Any, name: str) -> None:
    """Raises UserError for an argument that a tokenizer's chat template does not look at, with the nearest name."""
    names = template_names(tokenizer)
    if name not in names:
        near = get_close_matches(name, sorted(names), 1)
        raise UserError(
            f"the chat template of {tokenizer.name_or_path} knows no argument {name!r} (--chat_template_kwargs): "
            + (f"did you mean {near[0]!r}?" if near else "leave it out, or see what its chat_template looks at")
        )


def template_names(tokenizer: Any) -> frozenset[str]:
    """The names in a tokenizer's chat template, those of its arguments among them."""
    template = tokenizer.get_chat_template()
    known: dict[str, frozenset[str]] = vars(tokenizer).setdefault("_template_names", {})
    if template not in known:
        # cut into words only: a template may have statements of transformers' own
        words = jinja2.Environment().lex(template)
        known[template] = frozenset(word for _, kind, word in words if kind == "name")
    return known[template]


def _check_system_role(tokenizer: Any, template: str, content: Callable[[str], Any]) -> None:
    """Raises UserError for a template that refuses or drops what the system says."""
    known: set[str] = vars(tokenizer).setdefault("_with_system_role", set())
    if template in known:
        return
    spoken = (("system", _SYSTEM), ("user", _PROBE))
    text, reason = "", "it drops it"
    try:
        with ended_after(GRACE):
            text = _written(tokenizer, template, [{"role": role, "content": content(said)} for role, said in spoken])
    except (*FAULTS, EndlessError) as error:
        reason = " ".join(str(error).split())
    if _SYSTEM in text and _PROBE in text:
        known.add(template)
        return
    raise UserError(
        f"the chat template of {tokenizer.name_or_path} takes no system message ({reason}): leave --system_message "
        "out, and put its words into the data's instruction"
    )


def content_form(tokenizer: Any, template: str) -> Callable[[str], Any]:
    """How a template wants what somebody says: as a text, or as a list of parts, as those of models with images do.

    Raises UserError for a template that has the question in neither form.
    """
    known: dict[str, Callable[[str], Any]] = vars(tokenizer).setdefault("_content_forms", {})
    if template not in known:
        reasons: list[Exception] = []
        for form in (str, _as_parts):
            try:
                text = _written(tokenizer, template, [{"role": "user", "content": form(_PROBE)}])
            except FAULTS as error:
                reasons.append(error)
                continue
            if _PROBE in text:
                known[template] = form
                break
        else:
            raise reasons[0] if reasons else ValueError("the question is not in what it writes")
    return known[template]


@contextmanager
def refused(tokenizer: Any, seconds: float = GRACE) -> Iterator[None]:
    """Makes UserErrors of what a tokenizer's template raises in this block, and of not ending in so many seconds."""
    try:
        with ended_after(seconds):
            yield
    except (*FAULTS, EndlessError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"the chat template of {tokenizer.name_or_path} cannot be used ({reason}): --chat 0 does without, or mend "
            "chat_template in its tokenizer's files"
        ) from error


def _as_parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def on_a_fixed_day(template: str) -> str:
    """A chat template whose `strftime_now`, if it has one, gives `TODAY`."""
    if "strftime_now" not in template:
        return template
    # transformers hands no functions on to a template, but a macro goes before what it has of that name
    replaced = "".join(f" | replace('{each}', '{TODAY.strftime(each)}')" for each in _DIRECTIVES)
    return f"{{%- macro strftime_now(format) -%}}{{{{ format{replaced} }}}}{{%- endmacro %}}\n{template}"
