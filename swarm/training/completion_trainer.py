"""TRL's trainer, which on a CPU works out logits for the places of the answers only."""

import inspect
from typing import Any

import torch
from trl import SFTTrainer  # type: ignore[attr-defined]

from swarm.training.tokens import IGNORED


class CompletionTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer with the same loss at a lower price.

    On a GPU TRL projects nothing but the tokens that are learned. On a CPU it projects every token, and with short
    answers and large vocabularies that is a third of a step.
    """

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean loss of the tokens that are learned, over all of them in the step."""
        labels = inputs["labels"]
        if labels.device.type != "cpu" or self.aux_loss_enabled or not self._can_choose(model):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        following = labels[:, 1:]
        places = (following != IGNORED).any(dim=0).nonzero().flatten()
        read = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(**read, use_cache=False, logits_to_keep=places)
        loss = torch.nn.functional.cross_entropy(
            outputs.logits.float().flatten(0, 1), following[:, places].flatten(), ignore_index=IGNORED, reduction="sum"
        )
        learned = (following != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        loss = loss / torch.as_tensor(learned).clamp(min=1)
        return (loss, outputs) if return_outputs else loss

    def _can_choose(self, model: Any) -> bool:
        """Whether the model's forward takes the places whose logits are wanted."""
        own = self.accelerator.unwrap_model(model).get_base_model()
        return "logits_to_keep" in inspect.signature(type(own).forward).parameters
