"""`StepSettings` of a fused step."""

from dataclasses import dataclass

from swarm.errors import UserError
from swarm.maths.member_weights import CONSISTENCIES
from swarm.maths.targets import MODES

INVERSES = ("adamw", "em", "none")
CANDIDATES = ("needed", "all")


@dataclass(frozen=True)
class StepSettings:
    """Settings of a fused step: optimizer, target, learning rate and the like.

    Attributes:
      mode: how the members' relative distributions make the target: a name in `swarm.maths.targets.MODES`.
      inverse: adamw, the published; em, which converges; none: the weighted mean on the tokens that all have.
      learning_rate: of adamw; 0 leaves the choice to the main model.
      updates: of adamw or em (T); 0 leaves the choice to the main model.
      candidates: needed: the tokens that can win or count; all: every token, the full algorithm.
      dropped: the most probability that a model's tokens which are no candidates may have; at least 1e-6.
      least, most: candidates of a model, before those that the target asks for; `most` goes before `dropped`.
      consistency: weigh members anew at every step by how consistent they are: rbf, linear, power or reciprocal;
        empty for the weights that are given.
    """

    mode: str = "vanilla"
    inverse: str = "adamw"
    learning_rate: float = 0.15
    updates: int = 5
    candidates: str = "needed"
    dropped: float = 1e-3
    least: int = 20
    most: int = 512
    consistency: str = ""

    def __post_init__(self) -> None:
        """Raises UserError for a name that does not exist or a number out of range."""
        names = [
            ("mode", self.mode, tuple(MODES)),
            ("inverse", self.inverse, INVERSES),
            ("candidates", self.candidates, CANDIDATES),
            ("consistency", self.consistency, ("", *CONSISTENCIES)),
        ]
        for field, given, known in names:
            if given not in known:
                raise UserError(f"{field} {given!r} is none of {', '.join(name or repr(name) for name in known)}")
        ranges = [
            ("learning_rate", self.learning_rate, 0, float("inf")),
            ("updates", self.updates, 0, float("inf")),
            ("dropped", self.dropped, 1e-6, 0.5),
            ("least", self.least, 1, self.most),
        ]
        for field, number, lowest, highest in ranges:
            if not lowest <= number <= highest or number == float("inf"):
                raise UserError(f"{field} must be between {lowest} and {highest}, got {number}")
