"""The two exceptions that end a program on purpose."""


class UserError(Exception):
    """An error that the user can cure: shown as one line without a traceback, exit code 2.

    The message says what was given, what was wanted and the cure.
    """


class BudgetReached(Exception):
    """Raised where a run reaches a limit of the user's; it ends with the best system so far, if there is any."""
