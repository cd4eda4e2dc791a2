"""One sitting of a search, new or resumed: puts the parts together, keeps the run's folder, shows the result."""

import logging
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

import swarm
from swarm import front_doors
from swarm.engines.base import Engine, GenerationParams
from swarm.engines.cached import CachedEngine
from swarm.engines.metered import Budget, MeteredEngine
from swarm.engines.watched import WatchedEngine
from swarm.errors import UserError
from swarm.evals import get_eval
from swarm.evals.base import Dataset, Eval
from swarm.evals.data import limit, load_dataset
from swarm.progress import Progress
from swarm.report import draw_curves, draw_graph, graph_as_text, model_card, score_table
from swarm.search import cost
from swarm.search.config import SearchConfig, make_config, unused_but_given
from swarm.search.files import write_json
from swarm.search.finish import final_scores
from swarm.search.fitness import Fitness
from swarm.search.loop import Watcher, search
from swarm.search.options import parse
from swarm.search.run import BEST, LOG, RESULT, SCRATCHPAD, Run, create_run, name_taken, open_run, read_json, scratchpad
from swarm.search.state import SearchState, first_state
from swarm.search.steps import Problem
from swarm.tracking import Tracker, numbers
from swarm.weights.pool import Pool, expert_folders, read_pool

log = logging.getLogger(__name__)

RUNS = Path("search")


@dataclass(frozen=True)
class Task:
    """What a search works on, read and checked, but no model loaded."""

    config: SearchConfig
    evaluation: Eval
    dataset: Dataset
    params: GenerationParams


def search_program(arguments: list[str] | None = None) -> int:
    """search.py: a new search, a resumed one, or what one would cost. Returns the exit code."""
    given, mode = parse(arguments)
    front_doors.log_to(None)
    if mode.resume:
        return _resume(Path(mode.resume), given)
    config = make_config(given)
    if config.name and (RUNS / config.name).exists():
        raise name_taken(RUNS / config.name)
    if ignored := unused_but_given(config):
        log.warning("without effect here: %s", ", ".join(f"--{name}" for name in ignored))
    task = _read_task(config)
    directory, where = front_doors.expert_directory(config.initial_expert_directory)
    log.info("%s", where)
    if mode.dry_run:
        return _show_cost(task, len(expert_folders(directory)))
    pool = _read_experts(config, directory)
    engine = front_doors.make_engine(pool, config)
    if mode.calibrate:
        _calibrate(task, pool, engine)
        return _show_cost(task, len(pool.names))
    kept = replace(config, initial_expert_directory=str(directory))
    run = create_run(RUNS, kept, _origin(pool, task, engine))
    front_doors.log_to(run.folder / LOG)
    log.info("run: %s (seed %d)", run.folder, config.seed)
    return _Session(run, task, pool, engine, first_state(config.seed)).work()


def _resume(folder: Path, given: dict[str, Any]) -> int:
    run, config = open_run(folder, given)
    state = run.load() or first_state(config.seed)
    front_doors.log_to(run.folder / LOG)
    if state.next_step == "final" and (run.folder / RESULT).exists():
        log.info("%s is complete:", folder)
        _show_result(read_json(run.folder / RESULT), config, folder)
        return front_doors.DONE
    task = _read_task(config)
    pool = _read_experts(config, Path(str(config.initial_expert_directory)))
    engine = front_doors.make_engine(pool, config)
    for warning in run.check_origin(_origin(pool, task, engine)):
        log.warning("%s", warning)
    log.info("resumed: %s, next step: %s", folder, state.title)
    run.forget_metrics_after(state.steps_done)
    return _Session(run, task, pool, engine, state).work()


class _Session(Watcher):
    """Carries a search through, writing everything that a later sitting needs after each step."""

    def __init__(self, run: Run, task: Task, pool: Pool, engine: Engine, state: SearchState):
        config = task.config
        self._run, self._config, self._state = run, config, state
        self._progress = Progress(config, len(pool.names), len(task.dataset.dev))
        self._meter = MeteredEngine(engine, state.usage)
        self._cache = CachedEngine(self._meter)
        watched = WatchedEngine(self._cache, self._progress.answered)
        fitness = Fitness(watched, task.evaluation, task.dataset, task.params, config.scorer)
        self._problem = Problem(config, pool, fitness)
        self._tracker = Tracker(config.wandb, config.project_name_wb, run.folder.name, asdict(config), run.folder)
        self._seen = (0, 0)

    def work(self) -> int:
        """The exit code: done, limit reached, or interrupted."""
        config = self._config
        budget = Budget(config.max_generations, config.max_tokens, config.max_time)
        self._warn_of_small_limits()
        try:
            if self._state.best is not None:
                self._write(lambda: self._run.write_best(self._problem, self._state))
            self._state = search(self._problem, self._state, self._meter, self._cache, self, budget)
            return self._finish()
        except KeyboardInterrupt:
            self._progress.close()
            log.info("interrupted; nothing is lost: python search.py --resume %s", self._run.folder)
            return front_doors.INTERRUPTED
        except UserError:
            log.info("the run is safe up to step %r: python search.py --resume %s", self._state.title, self._run.folder)
            raise
        finally:
            self._progress.close()
            self._tracker.finish()
            self._run.close()

    def _warn_of_small_limits(self) -> None:
        fitness, config = self._problem.fitness, self._config
        plan = cost.forecast(config, self._problem.size, fitness.dataset, fitness.evaluation, fitness.params)
        start = plan.start
        for name, limit_given, needed in (
            ("max_generations", config.max_generations, start.generations),
            ("max_tokens", config.max_tokens, start.prompt_tokens + start.new_tokens),
        ):
            if limit_given is not None and limit_given < needed:
                log.warning("--%s %d is less than the start alone may take (%d)", name, limit_given, needed)

    def before(self, state: SearchState) -> None:
        """A step begins."""
        self._seen = (self._cache.saved, self._cache.asked)
        self._progress.before(state)

    def after(self, before: SearchState, state: SearchState) -> None:
        """A step is done: its numbers, then the state, then what can be made from the state again."""
        saved, asked = self._cache.saved - self._seen[0], self._cache.asked - self._seen[1]
        record = numbers(state) | {"requests": asked, "shared": saved}
        with front_doors.signals_wait():
            self._write(lambda: self._write_step(before, state, record))
            self._state = state
        self._progress.after(before, state, saved, asked)
        self._tracker.log(record, state.steps_done)

    def _write_step(self, before: SearchState, state: SearchState, record: dict[str, Any]) -> None:
        usage = {f"usage_{name}": value for name, value in asdict(state.usage).items()}
        self._run.write_metrics(state.steps_done, {"title": before.title} | record | usage)
        self._run.save(state)
        write_json(self._run.folder / SCRATCHPAD, scratchpad(state))
        if state.best is not before.best:
            self._run.write_best(self._problem, state)

    def _write(self, act: Any) -> None:
        try:
            act()
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{self._run.folder} cannot be written ({error}); the last state is whole: make room, then --resume"
            ) from error

    def _finish(self) -> int:
        state = self._state
        limited = state.next_step != "final"
        log.info("the search is over: %s", state.stop_reason)
        if state.best is None:
            log.info("nothing was found: the first %d graphs were not scored before the limit", self._config.graph_num)
            return front_doors.LIMIT_REACHED
        log.info(
            "final scores on dev (%d) and test (%d) ...",
            *(len(s) for s in (self._problem.fitness.dataset.dev, self._problem.fitness.dataset.test)),
        )
        scores = final_scores(self._problem, state)
        usage = self._meter.usage
        result = {
            "scores": scores,
            "stop_reason": state.stop_reason,
            "iterations": len(state.best_history) - 1,
            "found": state.best.found,
            "graph": graph_as_text(self._problem.best_system(state.best)),
            "usage": asdict(usage),
        }
        with front_doors.signals_wait():
            self._write(lambda: self._write_end(state, scores, result))
        scorer = self._config.scorer
        ends = {f"{split}_best": scores["found"][split][scorer]["mean"] for split in ("dev", "test")}
        self._tracker.log(ends, state.steps_done + 1)
        _show_result(result, self._config, self._run.folder)
        return front_doors.LIMIT_REACHED if limited else front_doors.DONE

    def _write_end(self, state: SearchState, scores: dict[str, Any], result: dict[str, Any]) -> None:
        folder = self._run.folder
        self._run.write_best(self._problem, state, scores)
        card = model_card(self._problem.best_system(state.best), scores, self._config)  # type: ignore[arg-type]
        (folder / BEST / "README.md").write_text(card, encoding="utf8")
        self._run.write_graphs(state)
        try:
            draw_graph(self._problem.best_system(state.best), folder / "graph.png")  # type: ignore[arg-type]
            if state.experts is not None:
                draw_curves(state, folder / "curves.png")
        except ImportError:
            log.info("no pictures: they need matplotlib (pip install 'h-swarm[report]')")
        write_json(folder / RESULT, result)


def _read_task(config: SearchConfig) -> Task:
    evaluation = get_eval(str(config.eval_type))
    dataset = limit(load_dataset(str(config.dataset), config.data_directory), config.dev_limit, config.test_limit)
    params = front_doors.generation_params(
        evaluation, dataset, config.max_new_tokens, config.chat, second_bos=config.paper_code
    )
    return Task(config, evaluation, dataset, params)


def _read_experts(config: SearchConfig, directory: Path) -> Pool:
    pool = read_pool(directory, config.base_model, config.combine, config.combine_rank)
    if len(pool.names) < 2:
        raise UserError(
            f"{directory} holds one expert ({pool.names[0]}); a search needs at least 2: add another folder"
        )
    return pool


def _origin(pool: Pool, task: Task, engine: Engine) -> dict[str, Any]:
    facts = engine.facts()
    return {
        "experts": pool.digest,
        "base": facts.pop("base", ""),
        "dataset": task.dataset.digest,
        "eval": task.evaluation.name,
        "engine": facts,
        "expert_names": pool.names,
        "version": swarm.__version__,
    }


def _engine_name(config: SearchConfig) -> str:
    model = config.base_model or config.initial_expert_directory or "default experts"
    return f"{model} on {config.gpus or 'default device'}"


def _show_cost(task: Task, experts: int) -> int:
    if experts < 2:
        raise UserError(f"the expert folder holds {experts} experts; a search needs at least 2: name another with -i")
    plan = cost.forecast(task.config, experts, task.dataset, task.evaluation, task.params)
    for line in cost.describe(plan, cost.known_speed(_engine_name(task.config))):
        log.info("%s", line)
    return front_doors.DONE


def _calibrate(task: Task, pool: Pool, engine: Engine) -> None:
    """Times two experts on up to 64 dev prompts, after a warm-up on a few."""
    from swarm.system.execute import answer_all
    from swarm.system.system import single

    queries = next(task.evaluation.judge(task.dataset, task.dataset.dev[:64]))
    pair = [single(expert) for expert in pool.experts()[:2]]
    answer_all(engine, [(pair[1], queries[:4])], task.params)
    meter = MeteredEngine(engine)
    answer_all(meter, [(system, queries) for system in pair], task.params)
    speed = meter.usage.tokens / meter.usage.seconds
    cost.remember_speed(_engine_name(task.config), speed)
    log.info("measured: %s tokens read and written per second", f"{speed:,.0f}")


def _show_result(result: dict[str, Any], config: SearchConfig, folder: Path) -> None:
    lines = ["", "the found system:", *(f"  {line}" for line in result["graph"]), ""]
    lines += score_table(result["scores"], config.scorer)
    with suppress(KeyError):
        lines += ["", f"found in {result['found']}; {result['usage']['generations']:,} generations"]
    lines += [f"run: {folder}  (best system: {folder / 'best'}, pictures: graph.png, curves.png)"]
    for line in lines:
        log.info("%s", line)
