"""One session of a search, new or resumed: runs it, writes the run's folder, shows the result."""

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import Any

from safetensors import SafetensorError

from swarm.engines.executor import Executor
from swarm.engines.metered import Budget, Metered, Usage
from swarm.engines.statistics import Work, load_summary
from swarm.errors import BudgetReached, UserError
from swarm.evolution.answer_records import as_lines
from swarm.evolution.candidate_files import append_round, restore
from swarm.evolution.final_scores import final_scores, questions_of_the_end, records_of
from swarm.evolution.fitness import Fitness
from swarm.evolution.loop import Watcher, search
from swarm.evolution.made_rounds import make_rounds, stopping_rule
from swarm.evolution.numbers import numbers
from swarm.evolution.problem import Problem
from swarm.evolution.reply_counts import ReplyWatch
from swarm.evolution.resume_command import resume_command
from swarm.evolution.rounds import Rounds
from swarm.evolution.run_folder import ANSWERS, BEST, RESULT, ROUTERS, Run, read_json
from swarm.evolution.state import SearchState
from swarm.members.composite import used_members
from swarm.members.members import Members
from swarm.members.routing.router_store import RouterStore
from swarm.programs import front_doors
from swarm.programs.early_warnings import warn_of_a_small_disk, warn_of_small_limits
from swarm.programs.engine_choice import BaseReader, make_cache
from swarm.programs.final_result import result_of, show_result
from swarm.programs.task import Task
from swarm.reports.pictures import BackgroundPictures
from swarm.reports.progress import Progress
from swarm.reports.report import model_card
from swarm.reports.tracking import TrackedRun, make_tracker
from swarm.storage.background import BackgroundWriter
from swarm.storage.files import read_text, write_json, write_whole
from swarm.system.query_trace import MemberAnswer
from swarm.system.scheduler import Scheduler
from swarm.weights.pool import Expert
from swarm.weights.written import remember_written

log = logging.getLogger(__name__)


class Session(Watcher):
    """Runs a search and writes its state after each step, from which a later session resumes."""

    def __init__(self, run: Run, task: Task, members: Members, executor: Executor, state: SearchState, began: float):
        """`began` is when this sitting began, with loading and all, as `time.monotonic` tells it."""
        config = task.config
        self._run, self._config, self._state = run, config, state
        self._meter = Metered(executor, state.usage, began=began)
        if not config.no_cache:  # without one, what was asked in a step that is cut off is asked, and counted, again
            self._meter.on_work = self._keep_usage
        cache = make_cache(executor, config)
        self._scheduler = Scheduler(self._meter, cache, self._answered)
        fitness = Fitness(self._scheduler, task.evaluation, task.dataset, task.params, config.scorer)
        router_store = RouterStore(run.folder / ROUTERS, BaseReader(executor, members, config))
        self._problem = Problem(config, members, fitness, router_store, task.instructions)
        self._rounds: Rounds | None = None
        if config.by_candidates:
            self._rounds = make_rounds(self._problem)
            restore(run.folder, state, self._rounds)
        self._progress = Progress(config, self._problem.size, len(task.dataset.dev) * task.evaluation.passes, members,
                                  self._meter.glance, front_doors.shows_progress())  # fmt: skip
        tracked = TrackedRun(config.project_name_wb, run.folder.name, asdict(config), run.folder)
        self._tracker = make_tracker(config.tracker, config.wandb, tracked)
        self._checkpoints, self._pictures = BackgroundWriter(), BackgroundPictures(run.folder)
        self._watch: ReplyWatch | None = None
        if state.next_step in ("start_role", "start"):
            self._watch = ReplyWatch(task.evaluation, task.dataset.dev, task.params.max_new_tokens)
        self._answers = ""
        self._seen = (0, 0, 0)
        self._work: list[Work] = []

    def work(self) -> int:
        """Runs the search. Returns the exit code: done, limit reached, or interrupted."""
        config = self._config
        budget = Budget(config.max_generations, config.max_tokens, config.max_time)
        if self._rounds is not None:
            budget = Budget(seconds=config.max_time)
            log.info("%s", stopping_rule(self._problem))
        elif self._state.best is None:
            warn_of_small_limits(self._problem)
        warn_of_a_small_disk(self._problem.pool.models, self._run.folder)
        try:
            try:
                return self._search(budget)
            finally:
                # the best system in hand is finished before the folder is given up, whatever ends the search
                with front_doors.signals_wait():
                    self._write(self._checkpoints.close)
        except KeyboardInterrupt:
            self._progress.close()
            log.info("interrupted; nothing is lost: %s", self._go_on())
            return front_doors.INTERRUPTED
        except Exception as error:
            with suppress(OSError, UserError), self._run.open_log() as file:
                file.write(f"stopped by {type(error).__name__}: {error}\n")
            log.info("the run is safe up to step %r: %s", self._state.title, self._go_on())
            raise
        finally:
            with ExitStack() as ending:  # the lock is given up last, whatever happens
                ending.callback(self._run.close)
                ending.callback(front_doors.log_to, None)  # what comes later is not the run's
                ending.callback(self._pictures.close)
                ending.callback(self._tracker.finish)
                ending.callback(self._progress.close)

    def _search(self, budget: Budget) -> int:
        if self._state.best is not None:  # what is made from the state, which a kill may have kept from being written
            self._write(lambda: self._run.write_scratchpad(self._state))
            self._write(lambda: self._write_best_so_far(self._state))
        fitness, composites = self._problem.fitness, bool(self._problem.members.composites)
        fitness.evaluation.watch_judge(self._run.keep_judge_usage, self._meter.late)
        fitness.evaluation.hold_back(questions_of_the_end(fitness.evaluation, fitness.dataset, composites))
        self._state = search(self._problem, self._state, self._meter, self, budget, self._rounds)
        return self._finish()

    def _go_on(self) -> str:
        """The command that resumes this run, with the user's code, which has to be named again once it is mended."""
        return resume_command(self._run.folder, self._config)

    def _answered(self, index: int, answer: MemberAnswer) -> None:
        self._progress.answered()
        if self._watch is not None:
            self._watch.answered(index, answer)

    def _keep_usage(self, usage: Usage) -> None:
        """Writes the usage so far; in final scores, what goes beyond the search's is theirs."""
        state = self._state
        if state.next_step == "final" or state.stop_reason:
            self._run.keep_usage(state.usage, state.final_usage.plus(usage.since(state.usage)))
        else:
            self._run.keep_usage(usage, state.final_usage)

    def before(self, state: SearchState) -> None:
        """A step begins."""
        self._seen, self._work = self._counts(), self._meter.work()
        self._progress.before(state)

    def _counts(self) -> tuple[int, int, int]:
        scheduler = self._scheduler
        return scheduler.asked, scheduler.shared, scheduler.cache.from_disk

    def after(self, before: SearchState, state: SearchState) -> None:
        """A step is done: its numbers, then the state, then what can be made from the state again."""
        if self._watch is not None:
            self._watch.end()
            self._watch = None
        asked, shared, from_disk = (now - then for now, then in zip(self._counts(), self._seen, strict=True))
        work = [now.since(then) for now, then in zip(self._meter.work(), self._work, strict=True)]
        record = numbers(state) | {"requests": asked, "shared": shared, "from_disk": from_disk}
        with front_doors.signals_wait():
            self._write(lambda: self._write_step(before, state, record, work))
        self._progress.after(before, state, shared, asked, load_summary(work))
        self._tracker.log(record, state.steps_done)

    def again(self, state: SearchState) -> None:
        """The search begins again, without the dev questions that the judge refuses."""
        log.warning("the judge refuses %d of %d dev questions (the first is record %d): they leave every mean, and the "
                    "search begins again with the answers and ratings that it has", len(state.skipped),
                    len(self._problem.fitness.dataset.dev), state.skipped[0])  # fmt: skip
        with front_doors.signals_wait():
            self._write(lambda: self._run.begin_again(state))
            if self._rounds is not None:
                restore(self._run.folder, state, self._rounds)
        self._state = state

    def _write_step(
        self, before: SearchState, state: SearchState, record: dict[str, Any], work: Sequence[Work]
    ) -> None:
        usage: dict[str, Any] = {f"usage_{name}": value for name, value in asdict(state.usage).items()}
        if self._rounds is not None:
            append_round(self._run.folder, before, state, self._rounds.last, self._rounds.ledger)
        workers = {"workers": [each.record() for each in work]} if work else {}
        self._run.write_metrics(state.steps_done, {"title": before.title} | record | usage | workers)
        self._run.save(state)
        self._state = state
        self._run.write_scratchpad(state)
        self._checkpoints.check()
        if state.best is not before.best:
            # beside the next step: the state, which is written, can make it again
            self._checkpoints.write(lambda: self._write_best_so_far(state))
        self._pictures.draw(self._problem, state)

    def _write_best_so_far(self, state: SearchState) -> None:
        """Adapters only: full models take gigabytes each time, and the state can make them again at the end."""
        if not self._problem.pool.models:
            self._run.write_best(self._problem, state)
            self._remember_found(state)

    def _remember_found(self, state: SearchState) -> None:
        """Remembers the written adapters' digests, by which an evaluation finds the search's cached answers."""
        assert state.best is not None
        if not self._config.no_cache:
            system = self._problem.best_system(state.best)
            used = (part for node in system.graph for part in used_members(system.member_at(node)))
            adapters = {part.name: part.digest for part in used if isinstance(part, Expert)}
            remember_written(self._run.folder / BEST / "experts", adapters)

    def _write(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{self._run.folder} cannot be written ({error}); the last state is whole: make room, then --resume"
            ) from error

    def _finish(self) -> int:
        self._write(self._checkpoints.wait)
        state = self._state
        limited = state.next_step != "final"
        log.info("the search is over: %s", state.stop_reason)
        if limited:
            self._write(lambda: self._run.save(state))  # the work of the step that was given up counts
        if state.best is None:
            first = "members alone" if self._rounds else f"first {self._config.graph_num} graphs"
            log.info("nothing was found: the %s were not scored before the limit; give more: %s", first, self._go_on())
            return front_doors.LIMIT_REACHED
        result = self._kept_result() or self._scored(state)
        if result is None:
            return front_doors.LIMIT_REACHED
        self._write_end(state, result)
        scorer = self._config.scorer
        ends = {f"{split}_best": result["scores"]["found"][split][scorer]["mean"] for split in ("dev", "test")}
        self._tracker.log(ends, state.steps_done + 1)
        answers = self._run.folder / BEST / ANSWERS
        if self._config.with_answers and answers.is_file():
            self._tracker.send_answers(answers)
        show_result(result, self._config, self._run.folder)
        return front_doors.LIMIT_REACHED if limited and self._config.strict_exit else front_doors.DONE

    def _kept_result(self) -> dict[str, Any] | None:
        """The final scores of an earlier session that could not write its best system."""
        path = self._run.folder / RESULT
        return read_json(path) if path.exists() else None

    def _scored(self, state: SearchState) -> dict[str, Any] | None:
        """The final scores with all that belongs to them; None if a judge's limit keeps them from being had."""
        assert state.best is not None
        fitness = self._problem.fitness
        dev, test = fitness.dataset.dev, fitness.dataset.test
        log.info("final scores on dev (%d) and test (%d) ...", len(dev), len(test))
        self._progress.final((len(dev) + len(test)) * fitness.evaluation.passes)
        fitness.evaluation.hold_back(0)
        try:
            scores = final_scores(self._problem, state)
        except BudgetReached as reached:
            log.info("the final scores are not all there: %s; raise it: %s", reached, self._go_on())
            return None
        finally:
            self._progress.close()
        records = records_of(scores, fitness)
        if not self._config.no_answers:
            self._answers = "".join(map(as_lines, records.values()))
        return result_of(self._problem, state, scores, records, self._meter)

    def _write_end(self, state: SearchState, result: dict[str, Any]) -> None:
        """Writes result.json last, which says that the run is complete; but before full models, which may take long."""
        folder = self._run.folder
        self._pictures.finish(self._problem, state)
        if self._problem.pool.models:
            if self._answers:
                self._write(lambda: write_whole(folder / ANSWERS, self._answers))
            self._write(lambda: write_json(folder / RESULT, result))
            shutil.rmtree(folder / BEST, ignore_errors=True)  # room for the next
            self._write(lambda: self._write_found(state, result["scores"]))
        else:
            with front_doors.signals_wait():
                self._write(lambda: self._write_found(state, result["scores"]))
                self._write(lambda: write_json(folder / RESULT, result))
        self._run.forget_usage()

    def _write_found(self, state: SearchState, scores: dict[str, Any]) -> None:
        assert state.best is not None
        kept = self._run.folder / ANSWERS  # by a sitting that could not write its full models
        answers = self._answers or (read_text(kept) if kept.is_file() and not self._config.no_answers else "")
        card = model_card(self._problem.best_system(state.best), scores, self._config)
        self._run.write_best(
            self._problem, state, scores, {"README.md": card} | ({ANSWERS: answers} if answers else {})
        )
        kept.unlink(missing_ok=True)
        self._remember_found(state)
        self._run.write_graphs(state)
