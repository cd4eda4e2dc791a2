"""Warnings about faults of a dataset, with their counts; one kind is mended where that is asked for."""

import logging
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from swarm.data.example import Dataset, Example
from swarm.data.overlap import content_key

log = logging.getLogger(__name__)

# The two characters \n where a line break was meant. Before a lower-case letter the n more often begins a command of
# LaTeX (\neq, \nu, \nonumber).
_LOST_BREAK = re.compile(r"\\n(?![a-z])")


def mend_and_warn(dataset: Dataset, mend: bool = False) -> Dataset:
    """Warns of each fault that the whole dataset has, with its counts; returns the dataset.

    With `mend`, a backslash followed by an n becomes a line break in questions and chunks, unless a lower-case letter
    comes next; without, texts stay as they are. Answers and choices are never touched.
    """
    _warn_of_ids(dataset)
    _warn_of_shared_questions(dataset)
    counts = _per_split(dataset, lambda example: any(_LOST_BREAK.search(text) for text in _texts(example)))
    if not counts:
        return dataset
    what = f"{dataset.name}: {counts} literal backslash-n in the question or a context chunk"
    if not mend:
        log.warning("%s, which stays as it is; without --compat they become line breaks", what)
        return dataset
    log.warning("%s, made line breaks now", what)
    return replace(dataset, dev=tuple(map(_mended, dataset.dev)), test=tuple(map(_mended, dataset.test)))


def _texts(example: Example) -> tuple[str, ...]:
    return (example.question, *example.chunks)


def _mended(example: Example) -> Example:
    question, *chunks = (_LOST_BREAK.sub("\n", text) for text in _texts(example))
    return replace(example, question=question, chunks=tuple(chunks))


def _warn_of_ids(dataset: Dataset) -> None:
    """Warns of records whose id another one of their split has too, with their number; no id is no duplicate."""
    shared = {
        split: sum(count for identity, count in Counter(e.id for e in examples).items() if identity and count > 1)
        for split, examples in (("dev", dataset.dev), ("test", dataset.test))
    }
    if any(shared.values()):
        counts = " and ".join(f"{count} {split}" for split, count in shared.items() if count)
        log.warning("%s: %s records share their id with another; do not tell records apart by id", dataset.name, counts)


def _warn_of_shared_questions(dataset: Dataset) -> None:
    """Warns of test records with a question of dev, with their number, and how many of these have its answer."""
    answers: dict[str, set[str]] = {}
    for example in dataset.dev:
        answers.setdefault(content_key(example.question), set()).add(_answer_text(example))
    known = [(content_key(example.question), example) for example in dataset.test]
    shared = [(key, example) for key, example in known if key in answers]
    twice = [example for _, example in shared]
    if not twice:
        return
    differing = [name for name in ("choices", "chunks") if any(getattr(example, name) for example in twice)]
    log.warning(
        "%s: %d of %d test records have a question text that is in dev too (%d distinct texts), %d of them with the "
        "right answer from there%s",
        dataset.name,
        len(twice),
        len(dataset.test),
        len({key for key, _ in shared}),
        sum(_answer_text(example) in answers[key] for key, example in shared),
        f"; their {' and '.join(differing)} may differ" if differing else "",
    )


def _answer_text(example: Example) -> str:
    """The right answer's text: letters of choices mean different texts in different records."""
    return example.choices.get(example.answer, example.answer)


def _per_split(dataset: Dataset, is_faulty: Callable[[Example], bool]) -> str:
    """The numbers of faulty examples per split, in words; empty if none is."""
    counts = {"dev": sum(map(is_faulty, dataset.dev)), "test": sum(map(is_faulty, dataset.test))}
    each = " and ".join(f"{count} {split}" for split, count in counts.items() if count)
    return f"{each} records have a" if each else ""
