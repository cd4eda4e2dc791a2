"""The table of evals, which score answers; to add one, write its file here and add its row."""

from collections.abc import Callable
from difflib import get_close_matches

from swarm.errors import UserError
from swarm.evals.eval import Eval
from swarm.evals.judges.judge import JudgeMaker, no_judge
from swarm.evals.own_evals import eval_from_file, is_file_name
from swarm.evals.plugin_eval import PluginEval
from swarm.plugins import HINT, find_plugin, names_in


def _exact_match(judge: JudgeMaker) -> Eval:
    from swarm.evals.exact_match import ExactMatch

    return ExactMatch()


def _multiple_choice(judge: JudgeMaker) -> Eval:
    from swarm.evals.multiple_choice import MultipleChoice

    return MultipleChoice()


def _abstainqa(judge: JudgeMaker) -> Eval:
    from swarm.evals.abstainqa import AbstainQA

    return AbstainQA()


def _gemini_match(judge: JudgeMaker) -> Eval:
    from swarm.evals.judged import GeminiMatch

    return GeminiMatch(judge())


# Functions rather than classes, so that an eval's file, and what that needs, is imported when it is asked for.
EVALS: dict[str, Callable[[JudgeMaker], Eval]] = {
    "exact_match": _exact_match,
    "multiple_choice": _multiple_choice,
    "abstainqa": _abstainqa,
    "gemini_match": _gemini_match,
}


def get_eval(name: str, judge: JudgeMaker = no_judge) -> Eval:
    """The eval of that name: one of ours, `path/to/file.py:name`, or a plugin's.

    `judge` makes the judge for an eval that needs one.

    Raises:
      UserError: there is no such eval, and the message lists those there are; or it cannot be imported or is no eval.
    """
    if is_file_name(name):
        return eval_from_file(name, judge)
    if plugin := find_plugin("evals", name, EVALS):
        return PluginEval(name, plugin.load(), plugin.code, judge)
    if name not in EVALS:
        known = names_in("evals", EVALS)
        near = get_close_matches(name, known, 1)
        meant = f"did you mean {near[0]}? There are" if near else "give one of"
        raise UserError(
            f"no eval {name!r}; {meant} {', '.join(known)}, or path/to/file.py:name (docs/add_an_eval.md); {HINT}"
        )
    return EVALS[name](judge)
