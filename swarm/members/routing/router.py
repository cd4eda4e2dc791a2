"""`Router`: picks the one member to ask for each prompt, with a confidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swarm.errors import UserError
from swarm.members.routing.fitted_on import SeenQuestions
from swarm.members.routing.interfaces import LEAST, Classifier, Features, Inputs, check_prompts, softmax

_BATCH = 1024  # prompts whose features are held at a time


@dataclass(frozen=True)
class RouterChoice:
    """A router's choice for one prompt.

    Attributes:
      member: its index among the router's names.
      confidence: calibrated probability that the classifier's pick is the right one.
      fell_back: whether the confidence was below the threshold, so that `member` is the best single one.
    """

    member: int
    confidence: float
    fell_back: bool


@dataclass(frozen=True, eq=False)
class Router:
    """A fitted router: features, classifier, temperature and threshold.

    Attributes:
      names: of the M members, in the order of the classifier's scores.
      digests: of the members by content when the router was fitted; empty where they were not given.
      features: None for a classifier that reads texts.
      temperature: by which logits are divided.
      threshold: confidence below which `fallback` is asked.
      fallback: the best single member.
      costs: per member, in any unit; empty where none were given.
      cost_weight: lambda, the quality that one unit of cost must bring.
      facts: what was measured when it was fitted; decides nothing.
      seen: the questions that it was fitted on; None where that was not noted, as by earlier versions.
      digest: of all that decides a choice; empty for a router that was never saved.
    """

    names: tuple[str, ...]
    features: Features | None
    classifier: Classifier
    fallback: int
    temperature: float = 1.0
    threshold: float = 0.0
    digests: tuple[str, ...] = ()
    costs: tuple[float, ...] = ()
    cost_weight: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    seen: SeenQuestions | None = None
    digest: str = ""

    def choose(self, prompts: Sequence[str]) -> list[RouterChoice]:
        """One choice per prompt, in one pass over batches. Raises UserError for an empty prompt."""
        return self.choices(self.probabilities(prompts))

    def choose_read(self, inputs: Inputs) -> list[RouterChoice]:
        """`choose` for prompts that are encoded already, or texts where the classifier reads those."""
        return self.choices(self._probabilities(inputs))

    def probabilities(self, prompts: Sequence[str]) -> np.ndarray:
        """Calibrated probability (B, M) float64 that each member is the one to ask."""
        prompts = check_prompts(prompts)
        found = [np.zeros((0, len(self.names)))]
        for start in range(0, len(prompts), _BATCH):
            batch = prompts[start : start + _BATCH]
            found.append(self._probabilities(batch if self.features is None else self.features.encode(batch).values))
        return np.concatenate(found)

    def _probabilities(self, inputs: Inputs) -> np.ndarray:
        return softmax(logits_of(self.classifier, inputs, self.costs, self.cost_weight) / self.temperature)

    def choices(self, probabilities: np.ndarray) -> list[RouterChoice]:
        """The choices by `probabilities` (B, M)."""
        picked, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1, initial=0.0)
        return [
            RouterChoice(
                self.fallback if sure < self.threshold else int(member), float(sure), bool(sure < self.threshold)
            )
            for member, sure in zip(picked, confidence, strict=True)
        ]

    def check_members(self, names: Sequence[str], digests: Sequence[str] = ()) -> None:
        """Raises UserError unless the members are those that it was fitted for, in that order.

        Digests are compared where both sides have them; leave them out for members that have evolved since.
        """
        if tuple(names) != self.names:
            raise UserError(
                f"the router was fitted for {', '.join(self.names)}, given {', '.join(names)}; name those members in "
                "that order, or fit it again"
            )
        pairs = zip(self.names, self.digests, digests, strict=False)
        changed = [name for name, fitted, given in pairs if fitted != given]
        if changed:
            raise UserError(
                f"the router was fitted for other weights of {', '.join(changed)} than are given; bring those back, "
                "or fit it again on their answers"
            )


def logits_of(classifier: Classifier, inputs: Inputs, costs: Sequence[float], cost_weight: float) -> np.ndarray:
    """Logits (B, M) of the softmax: log probabilities, or expected quality less lambda times cost."""
    scores = classifier.scores(inputs)
    if classifier.learns == "labels":
        return np.asarray(np.log(np.maximum(scores, LEAST)))
    return scores - cost_weight * np.asarray(costs) if len(costs) else scores
