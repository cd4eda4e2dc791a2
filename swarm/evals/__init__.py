"""Evals: answers become one number. The table of them; to add one, write its file here and add its row."""

from collections.abc import Callable

from swarm.errors import UserError
from swarm.evals.eval import Eval
from swarm.evals.judges.judge import JudgeMaker, no_judge
from swarm.evals.plugins import eval_from_file, eval_from_package, installed_evals, is_file_name


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
    """The eval of that name: one of ours, `path/to/file.py:name`, or one of an installed package.

    `judge` makes the judge for an eval that needs one.

    Raises:
      UserError: there is no such eval; the message lists those there are.
    """
    if name in EVALS:
        return EVALS[name](judge)
    if is_file_name(name):
        return eval_from_file(name, judge)
    installed = installed_evals()
    if name in installed:
        return eval_from_package(installed[name], judge)
    known = ", ".join([*EVALS, *sorted(installed)])
    raise UserError(f"no eval {name!r}; give one of {known}, or path/to/file.py:name (docs/add_an_eval.md)")
