"""Evals: answers become one number. The table of them; to add one, write its file here and add its row."""

from collections.abc import Callable

from swarm.errors import UserError
from swarm.evals.base import Eval


def _exact_match() -> Eval:
    from swarm.evals.exact_match import ExactMatch

    return ExactMatch()


def _multiple_choice() -> Eval:
    from swarm.evals.multiple_choice import MultipleChoice

    return MultipleChoice()


# Functions rather than classes, so that an eval's file, and what that needs, is imported when it is asked for.
EVALS: dict[str, Callable[[], Eval]] = {
    "exact_match": _exact_match,
    "multiple_choice": _multiple_choice,
}


def get_eval(name: str) -> Eval:
    """The eval of that name.

    Raises:
      UserError: there is no such eval; the message lists those there are.
    """
    if name not in EVALS:
        raise UserError(f"no eval {name!r}; give one of {', '.join(EVALS)}")
    return EVALS[name]()
