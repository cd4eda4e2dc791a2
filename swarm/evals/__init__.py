"""The table of evals, which score answers; to add one, write its file here and add its row."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from swarm.errors import UserError
from swarm.evals.eval import Eval
from swarm.evals.judges.judge import JudgeMaker, no_judge
from swarm.evals.own_evals import eval_from_file, file_of, is_file_name
from swarm.evals.plugin_eval import PluginEval
from swarm.plugins import HINT, find_plugin, names_in
from swarm.values import pairs_of


def _exact_match(judge: JudgeMaker) -> Eval:
    from swarm.evals.exact_match import ExactMatch

    return ExactMatch()


def _maths_match(judge: JudgeMaker) -> Eval:
    from swarm.evals.maths_match import MathsMatch

    return MathsMatch()


def _multiple_choice(judge: JudgeMaker) -> Eval:
    from swarm.evals.multiple_choice import MultipleChoice

    return MultipleChoice()


def _abstainqa(judge: JudgeMaker) -> Eval:
    from swarm.evals.abstainqa import AbstainQA

    return AbstainQA()


def _gemini_match(judge: JudgeMaker) -> Eval:
    from swarm.evals.judged import GeminiMatch

    return GeminiMatch(judge())


MOST_NAMES = 10_000

# Functions rather than classes, so that an eval's file, and what that needs, is imported when it is asked for.
EVALS: dict[str, Callable[[JudgeMaker], Eval]] = {
    "exact_match": _exact_match,
    "multiple_choice": _multiple_choice,
    "abstainqa": _abstainqa,
    "gemini_match": _gemini_match,
    "maths_match": _maths_match,
}


def names_several(name: str) -> bool:
    """Whether it gives datasets evals of their own, as a=NAME,b=NAME; an = may be in an option or a path, too."""
    file, _, _ = name.partition(":")
    return "=" in file and not (is_file_name(name) and Path(file).is_file())


def eval_names(given: str) -> list[str]:
    """Every text in `-e` that may come to be taken for an eval's name, commas in paths and options considered.

    What guards against code that the user has not named looks at them all, so that no reading of it is left out.
    """
    starts = [0, *(place + 1 for place, letter in enumerate(given) if letter in "=,")]
    ends = [*(place for place, letter in enumerate(given) if letter == ","), len(given)]
    if len(starts) * len(ends) > MOST_NAMES:
        raise UserError(f"-e has {len(starts) + len(ends)} signs = and , in it; wanted a=NAME,b=NAME of fewer datasets")
    return list(dict.fromkeys(given[start:end].strip() for start in starts for end in ends if start < end))


def named_from_anywhere(name: str) -> str:
    """The name of an eval, or of several as a=NAME,b=NAME, with the local files and folders in it as absolute paths."""
    if names_several(name):
        several = [piece.partition("=") for piece in name.split(",")]
        return ",".join(f"{key}{equals}{named_from_anywhere(value)}" for key, equals, value in several)
    if is_file_name(name):
        return f"{file_of(name).resolve()}:{name.partition(':')[2]}"
    family, colon, rest = name.partition(":")
    if not colon or family not in FAMILIES:
        return name
    if family == "lm_eval":
        return f"{family}:{Path(rest).resolve()}" if Path(rest).is_file() else name
    kind, _, options = rest.partition(":")
    pairs = [f"{option}={_absolute(value)}" for option, value in pairs_of(f"-e {family}", options)]
    return ":".join([family, _absolute(kind), *([",".join(pairs)] if pairs else [])])


def _absolute(text: str) -> str:
    return str(Path(text).resolve()) if Path(text).is_dir() else text


def _metric(name: str) -> Eval:
    from swarm.evals.metric_eval import MetricEval

    return MetricEval(name)


def _reward(name: str) -> Eval:
    from swarm.evals.reward_eval import RewardEval

    return RewardEval(name)


def _lm_eval(name: str) -> Eval:
    from swarm.evals.lm_eval_eval import LmEval

    return LmEval(name)


# Families of evals, whose members are named behind a colon.
FAMILIES: dict[str, Callable[[str], Eval]] = {"metric": _metric, "reward": _reward, "lm_eval": _lm_eval}
_NAMED = {"metric": "NAME", "reward": "MODEL", "lm_eval": "TASK"}


def get_eval(name: str, judge: JudgeMaker = no_judge) -> Eval:
    """The eval of that name: one of ours, `metric:NAME`, `reward:MODEL`, `path/to/file.py:name`, or a plugin's.

    `judge` makes the judge for an eval that needs one.

    Raises:
      UserError: there is no such eval, and the message lists those there are; or it cannot be imported or is no eval.
    """
    if is_file_name(name):
        return eval_from_file(name, judge)
    if plugin := find_plugin("evals", name, EVALS):
        return PluginEval(name, plugin.load(), plugin.code, judge)
    family, colon, rest = name.partition(":")
    if colon and family in FAMILIES:
        return FAMILIES[family](rest)
    if name not in EVALS:
        known = [*names_in("evals", EVALS), *(f"{family}:{what}" for family, what in _NAMED.items())]
        near = get_close_matches(name, known, 1)
        meant = f"did you mean {near[0]}? There are" if near else "give one of"
        raise UserError(
            f"no eval {name!r}; {meant} {', '.join(known)}, or path/to/file.py:name (docs/add_an_eval.md); {HINT}"
        )
    return EVALS[name](judge)
