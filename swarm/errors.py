"""The two ways in which a program of ours ends early on purpose."""


class UserError(Exception):
    """What the person at the keyboard can cure: shown as one line without a traceback, exit code 2.

    The message says what was given, what was wanted and the cure.
    """


class BudgetReached(Exception):
    """A limit that the user set is used up; the run ends with the best so far, exit code 3."""
