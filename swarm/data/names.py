"""What `-d` names: one dataset or several, and what they are called once they are read."""

from pathlib import Path

from swarm.data.file_formats import stem_of
from swarm.data.lm_eval_data import is_in_a_file, is_lm_eval


def dataset_names(given: str) -> list[str]:
    """The names or paths in `-d a,b`, each once; a path that is there is one, whatever commas it has."""
    if Path(given).exists():
        return [given]
    return list(dict.fromkeys(name for part in given.split(",") if (name := part.strip()))) or [given]


def names_of_data(given: str) -> list[str]:
    """What the datasets in `-d a,b` are called once they are read, as far as that can be told without."""
    return [_called(name) for name in dataset_names(given)]


def _called(name: str) -> str:
    if is_lm_eval(name) and not is_in_a_file(name):
        return name.replace(":", ".", 1)
    path = Path(name)
    return path.resolve().name if path.is_dir() else stem_of(path)
