"""Rendering of prompts: by the tokenizer's chat template with a fixed date, or as they are."""

import datetime
from collections.abc import Iterable
from typing import Any

from swarm.engines.base import GenerationParams
from swarm.errors import UserError

# what Llama's own template says where there is no clock
TODAY = datetime.datetime(2024, 7, 26)
_DIRECTIVES = """%-d %-m %-y %-H %-I %-M %-S %-j %a %A %w %d %b %B %m %y %Y %H %I %p %M %S %f %z %Z %j %U %W %c %x %X %e
%F %T""".split()


def rendered(tokenizer: Any, prompts: list[str], params: GenerationParams) -> tuple[list[str], bool]:
    """The rendered prompts, and whether the tokenizer adds special tokens to them.

    In the tokenizer's chat template where that is asked for and there is one, which brings its own <bos>.
    """
    chat = params.chat and bool(tokenizer.chat_template)
    return (in_chat_template(tokenizer, prompts) if chat else prompts), not chat or params.second_bos


def check_not_empty(whose: str, lengths: Iterable[int]) -> None:
    """Raises UserError for a prompt without a token; `whose` is the tokenizer, as messages say it."""
    if not all(lengths):
        raise UserError(
            f"a prompt is empty for the tokenizer of {whose}, which adds nothing to it; wanted at least one token: "
            "remove empty questions from the data, or use the chat template (--chat)"
        )


def in_chat_template(tokenizer: Any, prompts: list[str]) -> list[str]:
    """Every prompt as a user's turn, up to where the answer begins; templates with the date get `TODAY`.

    An answer must not depend on the day on which it is asked for, or a search that goes on tomorrow is another one, and
    what is kept is not what would be generated.
    """
    template = on_a_fixed_day(tokenizer.get_chat_template())
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], chat_template=template, tokenize=False, add_generation_prompt=True
        )
        for prompt in prompts
    ]


def on_a_fixed_day(template: str) -> str:
    """A chat template whose `strftime_now`, if it has one, gives `TODAY`."""
    if "strftime_now" not in template:
        return template
    # transformers hands no functions on to a template, but a macro goes before what it has of that name
    replaced = "".join(f" | replace('{each}', '{TODAY.strftime(each)}')" for each in _DIRECTIVES)
    return f"{{%- macro strftime_now(format) -%}}{{{{ format{replaced} }}}}{{%- endmacro %}}\n{template}"
