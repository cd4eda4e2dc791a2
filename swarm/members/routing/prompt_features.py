"""Inputs of a classifier for prompts, and the same for subsets of them, as cross-validation needs them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from swarm.members.routing.interfaces import (
    ClassifierSettings,
    Features,
    FeatureSettings,
    Inputs,
    LanguageModel,
    inputs_at,
)


@dataclass(frozen=True, eq=False)
class Reading:
    """Prompts with the inputs that a classifier gets.

    Attributes:
      prompts: P texts.
      features: None for a classifier that reads texts.
      inputs: of all prompts, in that order.
    """

    prompts: list[str]
    features: Features | None
    inputs: Inputs

    def rows(self, rows: np.ndarray) -> "Reading":
        """The inputs of these prompts only, in the same features."""
        return replace(self, prompts=[self.prompts[row] for row in rows], inputs=inputs_at(self.inputs, rows))

    def fitted_on(self, rows: np.ndarray) -> "Reading":
        """The inputs of all prompts, in features fitted on these rows only."""
        if self.features is None:
            return self
        features = self.features.refit([self.prompts[row] for row in rows])
        if features is self.features:
            return self
        return Reading(self.prompts, features, features.encode(self.prompts).values)


def read_prompts(
    prompts: Sequence[str], how: FeatureSettings, classifier: ClassifierSettings, language_model: LanguageModel | None
) -> Reading:
    """Checked prompts in features fitted on them, or as texts where the classifier reads these."""
    if classifier.reads == "texts":
        return Reading(list(prompts), None, list(prompts))
    features, encoded = how.fit(prompts, language_model)
    return Reading(list(prompts), features, encoded.values)
