"""Questions told apart by their content, so that what dev, test and an expert's training share is seen and said."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from swarm.data.example import Dataset
from swarm.errors import UserError
from swarm.storage.files import read_text

log = logging.getLogger(__name__)

LEARNED = "learned_questions.json"  # in the folder of an expert: the keys of what it was trained on


def content_key(text: str) -> str:
    """What a question asks, whatever its case, line breaks, blanks and closing marks."""
    return " ".join(text.casefold().split()).rstrip(" ?.!:")


def learned_keys(questions: Iterable[str]) -> str:
    """The file `LEARNED` of an expert that was trained on these questions; they cannot be read out of it."""
    return json.dumps(sorted({_hashed(question) for question in questions}), indent=0) + "\n"


def warn_of_learned(dataset: Dataset, experts: Mapping[str, Path]) -> None:
    """Warns of experts, name -> folder, that were trained on questions of dev or test, with their numbers.

    Of an expert whose folder does not say what it was trained on nothing is known. Raises UserError for a damaged file.
    """
    splits = {split: [_hashed(each.question) for each in getattr(dataset, split)] for split in ("dev", "test")}
    for name, folder in experts.items():
        if not (folder / LEARNED).exists():
            continue
        learned = _read(folder / LEARNED)
        counts = {split: sum(key in learned for key in keys) for split, keys in splits.items()}
        if any(counts.values()):
            told = " and ".join(f"{count} of {len(splits[split])} {split}" for split, count in counts.items() if count)
            log.warning("%s: expert %s was trained on %s questions, so that its score there is no sign of what it can "
                        "do; train it without them, or use other data", dataset.name, name, told)  # fmt: skip


def _hashed(question: str) -> str:
    return hashlib.sha256(content_key(question).encode()).hexdigest()[:16]


def _read(path: Path) -> set[str]:
    try:
        found = json.loads(read_text(path))
        if isinstance(found, list) and all(isinstance(key, str) for key in found):
            return set(found)
    except (OSError, ValueError, RecursionError):
        pass
    raise UserError(f"{path} is damaged, wanted a list of texts in JSON; delete it to go on without that check")
