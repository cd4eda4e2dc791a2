"""What is seen of a training while it runs: how far it is, numbers to a tracker, and a loss that breaks down."""

import math
from pathlib import Path
from typing import Any

from accelerate import PartialState  # type: ignore[import-untyped]
from transformers import TrainerCallback

from swarm.errors import UserError
from swarm.reports.progress_bar import ProgressBar
from swarm.reports.tracking import Tracker
from swarm.training.work_folder import mark_whole


class Watch(TrainerCallback):  # type: ignore[misc]
    """Follows one training; of several processes only the main one shows and writes anything."""

    def __init__(self, place: str, name: str, work: Path, tracker: Tracker | None) -> None:
        self._place, self._name, self._work, self._tracker = place, name, work, tracker
        self._bar: ProgressBar | None = None
        self._loss = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begins to show how far it is."""
        if state.is_world_process_zero:
            self._bar = ProgressBar(self._name, state.max_steps, "steps", state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Says how far it is, and has a state hold all losses so far: the trainer forgets what it has not logged."""
        control.should_log = control.should_log or control.should_save
        if self._bar is not None:
            self._bar.show(state.global_step, self._loss)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Hands numbers on; raises UserError for a loss that is no number any more."""
        logs = logs or {}
        loss = logs.get("loss")
        if loss is not None and not math.isfinite(loss):
            raise UserError(
                f"{self._place}: the loss is {loss} at step {state.global_step}: lower learning_rate, or give another "
                f"dtype; what was written so far is in {self._work}"
            )
        if loss is not None:
            self._loss = f"loss {loss:.3f}"
        if self._tracker is not None and state.is_world_process_zero:
            self._tracker.log(dict(logs), state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """All processes have written their part of a state."""
        processes = PartialState()
        processes.wait_for_everyone()
        if processes.is_main_process:
            mark_whole(self._work, state.global_step)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
