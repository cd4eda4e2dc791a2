"""One expert by TRL's SFTTrainer: the same recipe gives the same weights, in one sitting or in several."""

import copy
import logging
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swarm.engines.local.pretrained import loading
from swarm.errors import UserError
from swarm.training.base_models import Base, training_format
from swarm.training.recipe import ExpertRecipe
from swarm.training.tokens import TokenRows
from swarm.training.watching import Watch
from swarm.training.work_folder import newest_state

LOGGED_PARTS = 20  # a loss is logged for each of so many parts of a training
KEPT_STATES = 2  # so that one is whole while the next is written


@dataclass(frozen=True)
class Trained:
    """What a training gave.

    Attributes:
      folder: where the trainer saved the adapter.
      steps: of the optimiser.
      losses: (step, mean loss since the entry before) pairs.
    """

    folder: Path
    steps: int
    losses: list[tuple[int, float]]


def train(expert: ExpertRecipe, base: Base, rows: TokenRows, work: Path, watch: Watch) -> Trained:
    """Trains an adapter, from the newest whole state in `work` if there is one.

    Every process of a distributed training calls this. Raises UserError if the loss breaks down, or memory is short.
    """
    with own_generators(), _quiet_libraries():
        _forget_settings()
        state = newest_state(work)
        try:
            trainer = _trainer(expert, base, rows, work, watch)
            trainer.train(resume_from_checkpoint=str(state) if state else None)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{expert.place}: the training does not fit into the memory of the GPU: lower batch_size (and "
                "raise gradient_accumulation in its place), or max_length"
            ) from error
        finally:
            watch.close()
        folder = work / "trained"
        trainer.save_model(str(folder))
        trainer.accelerator.wait_for_everyone()
        losses = [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
        return Trained(folder, trainer.state.global_step, losses)


def _trainer(expert: ExpertRecipe, base: Base, rows: TokenRows, work: Path, watch: Watch) -> Any:
    import datasets
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, PrinterCallback, ProgressCallback, set_seed

    from swarm.training.completion_trainer import CompletionTrainer

    with loading(f"{expert.place}: base model {expert.base}", "as base in the recipe"):
        model = AutoModelForCausalLM.from_pretrained(base.folder(), dtype=training_format(expert))
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=expert.lora.r,
        lora_alpha=expert.lora.alpha,
        lora_dropout=expert.lora.dropout,
        target_modules=list(expert.lora.target_modules),
    )
    set_seed(expert.seed)  # the adapter's first weights are drawn before the trainer sets it
    trainer = CompletionTrainer(
        model=model,
        args=_arguments(expert, work),
        train_dataset=datasets.Dataset.from_dict({"input_ids": rows.input_ids, "labels": rows.labels}),
        processing_class=copy.deepcopy(base.tokenizer),  # to which it may add a padding token
        peft_config=lora,
        callbacks=[watch],
    )
    for shown in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(shown)
    return trainer


def _arguments(expert: ExpertRecipe, work: Path) -> Any:
    from trl import SFTConfig  # type: ignore[attr-defined]

    on_gpu = torch.cuda.is_available()
    dtype = training_format(expert)
    saving = expert.gradient_checkpointing
    return SFTConfig(
        output_dir=str(work),
        use_cpu=not on_gpu,
        learning_rate=expert.learning_rate,
        lr_scheduler_type=expert.schedule,
        warmup_steps=_warmup(expert),
        num_train_epochs=expert.epochs,
        max_steps=-1 if expert.steps is None else expert.steps,
        per_device_train_batch_size=expert.batch_size,
        gradient_accumulation_steps=expert.gradient_accumulation,
        train_sampling_strategy="group_by_length",  # rows of near lengths have little padding
        gradient_checkpointing=on_gpu if saving is None else saving,
        bf16=dtype is torch.bfloat16,
        fp16=dtype is torch.float16,
        max_length=None,  # rows come cut
        seed=expert.seed,
        data_seed=expert.seed,
        save_steps=expert.checkpoint_every,
        save_total_limit=KEPT_STATES,
        logging_steps=1 / LOGGED_PARTS,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )


def _warmup(expert: ExpertRecipe) -> float:
    """As the trainer reads it: below 1 a part of all steps."""
    return min(expert.warmup, 0.999999)


@contextmanager
def own_generators() -> Iterator[None]:
    """What the block draws from the process's generators changes nothing outside; the trainer knows no others."""
    before, numpy_before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(numpy_before)


def _forget_settings() -> None:
    """accelerate keeps the first trainer's number format and accumulation for the whole process."""
    from accelerate.state import AcceleratorState, GradientState  # type: ignore[import-untyped]

    AcceleratorState._reset_state()
    GradientState._reset_state()


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Warnings of the libraries about each other's ways are no business of whoever trains."""
    from transformers.utils import logging as transformers_logging

    logging.getLogger("transformers.trainer_utils").setLevel(logging.ERROR)  # states that are written within a second
    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False", category=UserWarning)
        warnings.filterwarnings("ignore", message="Could not find a config file in", category=UserWarning)
        yield
