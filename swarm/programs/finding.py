"""What `h-swarm doctor` says of one thing that it has looked at."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from swarm.errors import UserError

OK, WARN, FAIL = "ok", "warn", "FAIL"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
      name: what was looked at.
      mark: OK, WARN for what a search can do without, FAIL for what makes a search impossible.
      found: what there is.
      cure: what to do about it; "" if there is nothing to do.
    """

    name: str
    mark: str
    found: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.found}: {self.cure}" if self.cure else self.found


def looked_at(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a check finds. One that cannot be made is a finding, too, whatever it has met: it must not hide the rest."""
    found: list[Finding] = []
    try:
        for finding in check():
            found.append(finding)
    except UserError as error:  # in the words of a search, which would end with them
        found.append(Finding(name, FAIL, str(error)))
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        found.append(Finding(name, WARN, f"could not be looked at ({reason})"))
    return found
