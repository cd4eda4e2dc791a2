"""`h-swarm finetune`: LoRA experts from a recipe."""

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from swarm.errors import UserError
from swarm.evolution.forecast import duration
from swarm.programs import front_doors
from swarm.programs.parsers import finetune_parser
from swarm.reports.tracking import WANDB, TrackedRun, make_tracker
from swarm.training.plan import TrainingJob, check_surroundings, is_main, plan
from swarm.training.recipe import ExpertRecipe, Recipe, read_training_recipe
from swarm.training.trained_adapter import write_expert
from swarm.training.work_folder import begin_work, newest_state, step_of

log = logging.getLogger(__name__)


def finetune_program(arguments: list[str] | None = None) -> int:
    """`h-swarm finetune`. Returns the exit code."""
    options = finetune_parser().parse_args(arguments)
    front_doors.log_to(None)
    if not is_main():
        logging.getLogger("swarm").setLevel(logging.CRITICAL)
    try:
        check_surroundings()
        recipe = read_training_recipe(options.recipe)
        experts, out = _chosen(recipe, options.only), _out(recipe, options.out)
        log.info("%s: reading data and bases for %s", recipe.path, ", ".join(expert.name for expert in experts))
        jobs = plan(experts, out)
        for job in jobs:
            _announce(job)
        if not options.check:
            for number, job in enumerate(jobs, 1):
                _do(job, f"expert {number} of {len(jobs)}", options.wandb)
    except UserError:
        if is_main():
            raise
        return front_doors.BAD_INPUT  # the main process says it
    return front_doors.DONE


def _chosen(recipe: Recipe, only: Sequence[str] | None) -> list[ExpertRecipe]:
    names = [expert.name for expert in recipe.experts]
    for name in only or ():
        if name not in names:
            raise UserError(
                f"--only {name}: {recipe.path} has no such expert, only {', '.join(names)}: name one of them"
            )
    return [expert for expert in recipe.experts if only is None or expert.name in only]


def _out(recipe: Recipe, given: Path | None) -> Path:
    if given is None and recipe.out is None:
        raise UserError(f"{recipe.path} says no out, and --out is not given: name the folder for the experts")
    return given if given is not None else Path(str(recipe.out))


def _announce(job: TrainingJob) -> None:
    if job.finished:
        log.info("%s: is there, trained by this recipe (%s)", job.expert.name, job.folder)
        return
    state = newest_state(job.work)
    log.info(
        "%s: %d rows, %d tokens to learn, %d steps of %d rows, base %s%s",
        job.expert.name,
        len(job.rows.labels),
        job.rows.learned,
        job.steps,
        job.expert.batch_size * job.expert.gradient_accumulation * job.sitting["processes"],
        job.expert.base,
        f"; goes on after step {step_of(state)}" if state else "",
    )


def _do(job: TrainingJob, place: str, wandb: str) -> None:
    """Trains one expert, which has this place among all, and writes its folder; one that is there is left alone."""
    import torch
    from accelerate import PartialState  # type: ignore[import-untyped]

    together = PartialState(cpu=not torch.cuda.is_available())
    if not job.finished:
        began = time.monotonic()
        log.info("%s (%s): training on %d rows, %d steps", job.expert.name, place, len(job.rows.labels), job.steps)
        if is_main():
            begin_work(job.work, job.sitting)
        together.wait_for_everyone()
        line = _train(job, wandb)
        log.info("%s: %s, %s: %s", job.expert.name, line, duration(time.monotonic() - began), job.folder)
    if is_main():
        shutil.rmtree(job.work, ignore_errors=True)
    together.wait_for_everyone()


def _train(job: TrainingJob, wandb: str) -> str:
    """Trains, writes, and returns what to say of it."""
    from swarm.training.training import train
    from swarm.training.watching import Watch

    tracker = None
    if is_main() and wandb != "disabled":
        tracker = make_tracker(WANDB, wandb, TrackedRun("finetune", job.expert.name, job.facts, job.work))
    trained = train(
        job.expert, job.base, job.rows, job.work, Watch(job.expert.place, job.expert.name, job.work, tracker)
    )
    losses = [loss for _, loss in trained.losses]
    record = {
        "name": job.expert.name,
        "base": {"name": job.expert.base, "revision": job.expert.revision, "digest": job.facts["base"]},
        "data": job.data,
        "facts": job.facts,
        "machine": {key: job.sitting[key] for key in ("dtype", "processes")},
        "rows": {"trained": len(job.rows.labels), "shortened": job.rows.shortened, "dropped": job.rows.dropped},
        "steps": trained.steps,
        "losses": {"first": losses[0], "last": losses[-1], "all": trained.losses},
    }
    if is_main():
        with front_doors.signals_wait():
            write_expert(job.folder, trained.folder, job.expert, job.base.tokenizer, record, job.learned)
    if tracker is not None:
        tracker.finish()
    return f"{trained.steps} steps, loss {losses[0]:.3f} -> {losses[-1]:.3f}"
