"""Prompts from a config and records, and the answer cut out of a text (arXiv 2404.12715, the published program)."""

from collections.abc import Mapping, Sequence
from typing import Any

from swarm.errors import UserError
from swarm.programs.deepen.published_config import Cutting, DeepenConfig, Template


def fill_template(template: Template, record: Mapping[str, Any], where: str) -> str:
    """A record written by a template; raises UserError for a field that the record has not."""
    missing = [name for name in template.fields if name not in record]
    if missing:
        raise UserError(
            f"{where} has no {', '.join(missing)}, which the config's template asks for; there are "
            f"{', '.join(record) or 'none'}: mend the data or the config's key"
        )
    return template.text.format(*(record[name] for name in template.fields))


def prompts(
    config: DeepenConfig, record: Mapping[str, Any], demos: Sequence[Mapping[str, Any]], where: str
) -> list[str]:
    """What each model is asked, the main one first: its template around instruction, examples and question."""
    examples = "".join(fill_template(config.demo, demo, f"example {index}") for index, demo in enumerate(demos))
    text = f"{config.instruction}{examples}{fill_template(config.task, record, where)}"
    return [model.template.format(text) for model in config.models]


def cut_generated(prompt: str, generated: str, cutting: Cutting) -> str:
    """The answer in what was generated, whatever the examples and the question hold.

    Where the prompt ends with the first string, the answer is what follows; else it stands behind the first occurrence
    of that string in what was generated, and is empty where there is none.
    """
    first, *second = cutting.before or ("",)
    text = generated if prompt.rstrip().endswith(first.rstrip()) else generated.partition(first)[2]
    if second:
        text = text.rpartition(second[0])[2]
    for end in cutting.behind:
        text = text.partition(end)[0]
    return text.strip()
