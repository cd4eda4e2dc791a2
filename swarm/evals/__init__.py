"""Evals: answers become one number. The table of them; to add one, write its file here and add its row."""

from collections.abc import Callable
from typing import Any

from swarm.errors import UserError
from swarm.evals.base import Eval
from swarm.evals.plugins import eval_from_file, eval_from_package, installed_evals, is_file_name

JudgeMaker = Callable[[], Any]
"""Makes the judge that the user has asked for; an eval that needs none never calls it."""


def _exact_match(judge: JudgeMaker) -> Eval:
    from swarm.evals.exact_match import ExactMatch

    return ExactMatch()


def _multiple_choice(judge: JudgeMaker) -> Eval:
    from swarm.evals.multiple_choice import MultipleChoice

    return MultipleChoice()


def _abstainqa(judge: JudgeMaker) -> Eval:
    from swarm.evals.abstainqa import AbstainQA

    return AbstainQA()


# Functions rather than classes, so that an eval's file, and what that needs, is imported when it is asked for.
EVALS: dict[str, Callable[[JudgeMaker], Eval]] = {
    "exact_match": _exact_match,
    "multiple_choice": _multiple_choice,
    "abstainqa": _abstainqa,
}


def get_eval(name: str, judge: JudgeMaker | None = None) -> Eval:
    """The eval of that name: one of ours, `path/to/file.py:name`, or one of an installed package.

    Raises:
      UserError: there is no such eval; the message lists those there are.
    """
    if name in EVALS:
        return EVALS[name](judge or _no_judge)
    if is_file_name(name):
        return eval_from_file(name)
    installed = installed_evals()
    if name in installed:
        return eval_from_package(installed[name])
    known = ", ".join([*EVALS, *sorted(installed)])
    raise UserError(f"no eval {name!r}; give one of {known}, or path/to/file.py:name (docs/add_an_eval.md)")


def _no_judge() -> Any:
    raise UserError("this eval needs a judge; name one with --judge_model (docs/judges.md)")
