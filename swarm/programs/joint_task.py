"""Several datasets in one search: -d a,b with -e, --weights and --at_least for each."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache

from swarm.data.example import Dataset
from swarm.data.load import limit, load_dataset
from swarm.engines.overrides import NAMES
from swarm.errors import UserError
from swarm.evals import get_eval, names_several
from swarm.evals.joint_eval import JointEval, Part
from swarm.evals.judges.judge import Judge
from swarm.evolution.config import SearchConfig
from swarm.programs.data_sources import source_of
from swarm.values import pairs_of


def read_joint_eval(config: SearchConfig, names: Sequence[str], judge: Callable[[], Judge]) -> JointEval:
    """The eval of all datasets that -d names, each with its own eval where -e gives several.

    Raises UserError for weights, floors or evals of datasets that are not there, and as the parts do.
    """
    datasets = [limit(load_dataset(source_of(config, name)), config.dev_limit, config.test_limit) for name in names]
    known = [dataset.name for dataset in datasets]
    weights, floors = (
        {name: _number(option, name, text) for name, text in _by_dataset(option, given, known).items()}
        for option, given in (("--weights", config.weights), ("--at_least", config.at_least))
    )
    for name, weight in weights.items():
        if weight <= 0:
            raise UserError(f"--weights has {name}={weight:g}, wanted a number above 0; leave a dataset out of -d that "
                            "is not to count")  # fmt: skip
    one_judge, evals = cache(judge), _evals(str(config.eval_type), known)
    made = {name: get_eval(own, one_judge) for name, own in evals.items()}
    parts = [Part(one, made[one.name], weights.get(one.name, 1.0), floors.get(one.name)) for one in datasets]
    for part in parts:
        lowest, highest = part.evaluation.range
        if part.at_least is not None and not lowest <= part.at_least <= highest:
            raise UserError(f"--at_least has {part.name}={part.at_least:g}, wanted a score of {part.evaluation.name}, "
                            f"from {lowest:g} to {highest:g}: correct it")  # fmt: skip
    overridden = [name for name in NAMES if getattr(config, name) is not None]
    return JointEval(parts, config.max_new_tokens, config.chat, overridden)


def refuse_without_several(config: SearchConfig, dataset: Dataset) -> None:
    """Raises UserError where weights or floors are given and -d names one dataset."""
    for option in ("weights", "at_least"):
        if getattr(config, option) is not None:
            raise UserError(f"--{option} is for several datasets, and -d names {dataset.name} only: drop it, or name "
                            f"them all, such as -d {dataset.name},other")  # fmt: skip


def _evals(given: str, datasets: Sequence[str]) -> dict[str, str]:
    """Dataset -> eval: one for all, or "a=exact_match,b=multiple_choice"."""
    if not names_several(given):
        return dict.fromkeys(datasets, given)
    named: dict[str, str] = {}
    last = ""
    for piece in given.split(","):
        name, equals, rest = piece.partition("=")
        if equals and (name in datasets or not last):
            named[last := name] = rest
        else:  # a further option of the eval before it
            named[last] += f",{piece}"
    _check_known("-e", named, datasets)
    if missing := [name for name in datasets if name not in named]:
        raise UserError(f"-e {given} has no eval for {missing[0]}; add {missing[0]}=EVAL, or give one eval for all")
    return named


def _by_dataset(option: str, given: str | None, datasets: Sequence[str]) -> dict[str, str]:
    pairs = pairs_of(option, given or "")
    if twice := [name for name, _ in pairs if [other for other, _ in pairs].count(name) > 1]:
        raise UserError(f"{option} says {twice[0]} twice; drop one of them")
    _check_known(option, dict(pairs), datasets)
    return dict(pairs)


def _check_known(option: str, given: Mapping[str, str], datasets: Sequence[str]) -> None:
    for name in given:
        if name not in datasets:
            near = get_close_matches(name, datasets, 1)
            meant = f"did you mean {near[0]}? There are" if near else "there are"
            raise UserError(f"{option} has {name}, and -d names no such dataset; {meant} {', '.join(datasets)}")


def _number(option: str, name: str, text: str) -> float:
    try:
        number = float(text)
        if abs(number) < float("inf"):
            return number
    except ValueError:
        pass
    raise UserError(f"{option} has {name}={text}, wanted a number; correct it")
