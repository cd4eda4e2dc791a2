"""Where the small experts and questions lie that come with h-swarm: in a clone below data/, installed in the package.

setup.py puts them into the wheel as swarm/embedded/, in the same order of folders, since an adapter names its base
relative to itself.
"""

from pathlib import Path

QUESTIONS = "graph_tasks_small"
_PACKAGE = Path(__file__).resolve().parents[1]
_EXPERTS, _FILE = Path("data/embedded/experts"), Path(f"data/eval/{QUESTIONS}.json")


def embedded_experts() -> Path | None:
    """The folder of the embedded experts: the current folder's, whose owner may have trained them anew, else ours.

    None where none are there, which takes a package that was copied without its data.
    """
    places = _EXPERTS, _PACKAGE / "embedded/experts", _PACKAGE.parent / _EXPERTS
    return next((place for place in places if any(place.glob("*/adapter_config.json"))), None)


def embedded_questions() -> Path | None:
    """The file of their questions, looked for in the same places."""
    places = _FILE, _PACKAGE / f"embedded/eval/{QUESTIONS}.json", _PACKAGE.parent / _FILE
    return next((place for place in places if place.is_file()), None)
