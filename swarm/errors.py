"""The two ways in which a program of ours ends early on purpose."""


class UserError(Exception):
    """What the person at the keyboard can cure: shown as one line without a traceback, exit code 2.

    The message says what was given, what was wanted and the cure.
    """


class BudgetReached(Exception):
    """The run cannot go further, mostly by a limit that the user set; it ends with the best so far, if there is any."""
