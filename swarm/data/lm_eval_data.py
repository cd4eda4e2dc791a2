"""Tasks of EleutherAI's lm-evaluation-harness as datasets: `-d lm_eval:TASK`, with that library's own prompts."""

import logging
import string
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from swarm.data.example import Dataset, Example
from swarm.data.mapping_files import read_mapping_file
from swarm.data.splits import places_of_dev
from swarm.errors import UserError

PREFIX = "lm_eval:"
EXTRA = 'pip install "h-swarm[harness]"'
PLACE = "lm_eval_place"  # the column that says which record of which task an example is, such as gsm8k:test:12
GENERATES, CHOOSES = "generate_until", "multiple_choice"
_SEED = 1234  # the library's own for drawing examples in front of a question
_FILES = (".yaml", ".yml")
_CODE = "!function"


def is_lm_eval(name: str) -> bool:
    """Whether a dataset's or an eval's name means a task of the library."""
    return name.startswith(PREFIX)


def is_in_a_file(name: str) -> bool:
    """Whether it means a task of the user's own, in a YAML file."""
    return is_lm_eval(name) and name.endswith(_FILES)


def task_file(name: str) -> Path | None:
    """The file of a task of the user's own; None for one of the library's, and for what is no task of it."""
    path = Path(name.removeprefix(PREFIX))
    return path if is_in_a_file(name) and path.is_file() else None


def lm_eval_dataset(name: str, dev_size: int | None, seed: int) -> Dataset:
    """The dataset of a task: dev is its validation split (else training), test its test split.

    A task with one split only is drawn from, by `seed`. Raises UserError if there is no such task, its data cannot be
    had, or it asks what a system that writes texts cannot answer.
    """
    task = task_of(name)
    places = [(split, number) for split in _SPLITS if _has(task, split) for number in range(len(docs(task, split)))]
    there = list(dict.fromkeys(split for split, _ in places))
    if "test" in there and len(there) > 1:
        dev = next(split for split in ("validation", "train") if split in there)
        if dev_size is not None:
            raise UserError(
                f"{name} has splits of its own ({', '.join(there)}), and --dev_size is for sources with one: drop it "
                "(--dev_limit keeps the first so many)"
            )
        dev_places, test_places = ([one for one in places if one[0] == split] for split in (dev, "test"))
    else:
        only = "test" if "test" in there else "validation" if "validation" in there else there[0]
        dev_places, test_places = _drawn(name, [one for one in places if one[0] == only], dev_size, seed)
    task.set_fewshot_seed(_SEED)
    examples = {place: _example(task, *place) for place in (*dev_places, *test_places)}
    dev_examples, test_examples = (tuple(map(examples.__getitem__, own)) for own in (dev_places, test_places))
    generation: dict[str, int | bool] = {"chat": False}
    if most := (task.config.generation_kwargs or {}).get("max_gen_toks"):
        generation["max_new_tokens"] = int(most)
    return Dataset(f"lm_eval.{task.config.task}", dev_examples, test_examples, generation=generation)


@lru_cache(maxsize=8)
def task_of(name: str) -> Any:
    """The library's task of a name, or of a YAML file of the user's without code. Raises UserError if there is none."""
    asked = name.removeprefix(PREFIX)
    try:
        from datasets import disable_progress_bars
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise UserError(f"{name} needs the library lm_eval, which is missing: {EXTRA}") from error
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        disable_progress_bars()
    with _faults(name):
        if is_in_a_file(name):
            wanted: Any = _own_task(Path(asked))
            manager = TaskManager(include_defaults=False)
        else:
            manager, wanted = TaskManager(), asked
            if asked not in manager.all_subtasks:
                what = "a group of tasks" if asked in manager.all_tasks else "no task of lm_eval"
                raise UserError(f"{name}: {asked} is {what}; wanted one task (lm-eval ls tasks lists them)")
        tasks = manager.load([wanted])["tasks"]
    [task] = tasks.values()
    if task.config.output_type not in (GENERATES, CHOOSES):
        raise UserError(
            f"{name} compares how likely texts are ({task.config.output_type}), and a system answers in texts: take a "
            f"task of the type {GENERATES} or {CHOOSES}"
        )
    return task


def docs(task: Any, split: str) -> Sequence[Mapping[str, Any]]:
    """The library's records of a split: "train", "validation" or "test"."""
    return getattr(task, f"{_SPLITS[split]}_docs")()  # type: ignore[no-any-return]


_SPLITS = {"train": "training", "validation": "validation", "test": "test"}


def _has(task: Any, split: str) -> bool:
    return bool(getattr(task, f"has_{_SPLITS[split]}_docs")())


def _drawn(
    name: str, places: list[tuple[str, int]], dev_size: int | None, seed: int
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    if dev_size is None or not 0 < dev_size < len(places):
        raise UserError(f"{name} has one split of {len(places)} records; draw dev from it with --dev_size, from 1 to "
                        f"{len(places) - 1}")  # fmt: skip
    chosen = places_of_dev(len(places), dev_size, seed)
    return [places[k] for k in sorted(chosen)], [place for k, place in enumerate(places) if k not in chosen]


def _example(task: Any, split: str, number: int) -> Example:
    doc = docs(task, split)[number]
    identity, columns = str(number), {PLACE: f"{task.config.task}:{split}:{number}"}
    if task.config.output_type == CHOOSES:
        choices = dict(zip(string.ascii_uppercase, map(str, task.doc_to_choice(doc)), strict=False))
        target = task.doc_to_target(doc)
        letter = list(choices)[target] if isinstance(target, int) else _letter(choices, str(target))
        return Example(str(task.doc_to_text(doc)), letter, identity, choices=choices, columns=columns)
    golds = task.doc_to_target(doc)
    first, *others = [str(gold) for gold in golds] if isinstance(golds, list) else [str(golds)]
    asked = task.fewshot_context(doc, task.config.num_fewshot or 0)
    return Example(str(asked), first, identity, columns=columns, alternatives=tuple(others))


def _letter(choices: Mapping[str, str], text: str) -> str:
    return next((letter for letter, choice in choices.items() if choice == text), text)


def _own_task(path: Path) -> Any:
    text = path.read_text(encoding="utf8") if path.is_file() else ""
    if _CODE in text or "include:" in text:
        raise UserError(
            f"{path} runs code of its own or includes another file ({_CODE}, include:), wanted a task that is data "
            "only: write it without, or add it to lm_eval"
        )
    return read_mapping_file(path, "a task of lm_eval")


@contextmanager
def _faults(name: str) -> Iterator[None]:
    """What the library and the hub raise becomes a line that names the task."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of any kind: the library passes on what its data and its templates raise
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"{name} cannot be loaded ({type(error).__name__}: {reason}): bring its data, or let the hub be reached"
        ) from error
