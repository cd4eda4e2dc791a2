"""What a result file was made with: kept beside it, and compared before it is gone on with."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarm.data.tables import show
from swarm.errors import UserError
from swarm.storage.files import write_json
from swarm.storage.store import differences, read_record

log = logging.getLogger(__name__)

CONTENTS = "contents"  # of the models, by their paths: a folder may change in place
NOT_COMPARED = (CONTENTS, "row_memory")  # the latter is in earlier recipes, and changes no text


def recipe_path(results: Path) -> Path:
    """Where the recipe of a result file lies."""
    return results.with_suffix(".json")


def read_result_recipe(results: Path) -> dict[str, Any] | None:
    """What a result file was made with; None where nobody has written it down. Raises UserError where it is damaged."""
    return read_record(recipe_path(results), "move it away, or name another folder")


def check_recipe(results: Path, recipe: Mapping[str, Any], done: int, cure: str) -> None:
    """Raises UserError where `done` answers were made with another recipe: the first difference, and the cure."""
    if not done:
        return
    before = read_result_recipe(results)
    if before is None:
        log.warning("%s has no %s beside it: what its answers were made with is not known",
                    results, recipe_path(results).name)  # fmt: skip
        return
    for name, (was, wanted) in differences(before, recipe, NOT_COMPARED).items():
        raise UserError(f"{results} was made with {name} {show(was)}, asked for {show(wanted)}; {cure}")


def check_contents(results: Path, contents: Mapping[str, str], done: int, cure: str) -> None:
    """Raises UserError where a model is not what it was when the `done` answers were made, and names it.

    `contents` are digests by path, of models that are about to be loaded; others are not looked at.
    """
    before = _contents_before(results)
    if done and not before:
        log.warning("%s does not say which models its answers are from: a change is not seen", recipe_path(results))
    for path, digest in contents.items():
        if done and before.get(path, digest) != digest:
            raise UserError(
                f"model {path} has changed since the first answers of {results}, which it would mix with; bring the "
                f"model back, {cure}"
            )


def write_recipe(results: Path, recipe: Mapping[str, Any], contents: Mapping[str, str]) -> None:
    """Keeps the recipe and the models' digests beside the results; those of models that are not named stay."""
    contents = {**_contents_before(results), **contents}
    write_json(recipe_path(results), dict(recipe) | {CONTENTS: contents})


def _contents_before(results: Path) -> dict[str, str]:
    found = (read_result_recipe(results) or {}).get(CONTENTS, {})
    return dict(found) if isinstance(found, dict) else {}
