"""evaluate.py: a system from disk scored on a dataset."""

import json
import logging
from pathlib import Path
from typing import Any

from swarm import front_doors
from swarm.errors import UserError
from swarm.evals import get_eval
from swarm.evals.data import limit, load_dataset
from swarm.report import graph_as_text
from swarm.search.config import make_config
from swarm.search.finish import summarise
from swarm.search.fitness import Fitness
from swarm.search.options import Parser, truth
from swarm.search.run import BEST
from swarm.system.system import LoadedSystem, load_system

log = logging.getLogger(__name__)


def evaluate_parser() -> Parser:
    """The parser of evaluate.py."""
    parser = Parser(prog="evaluate.py", description="Scores a found system again.", allow_abbrev=False)
    parser.add_argument("folder", help="a run (search/<name>) or a system's folder (search/<name>/best)")
    parser.add_argument("-e", "--eval_type", help="what scores an answer (default: what it was found by)")
    parser.add_argument("-d", "--dataset", help="name or path (default: what it was found on)")
    parser.add_argument("--split", default="test", choices=("dev", "test"), help="(default: test)")
    parser.add_argument("--limit", type=int, help="only the first so many examples")
    parser.add_argument("--data_directory", default="data/eval", help="where datasets lie")
    parser.add_argument("--max_new_tokens", type=int, help="tokens per answer")
    parser.add_argument("--chat", type=truth, metavar="0|1", help="use the chat template")
    parser.add_argument("-g", "--gpus", help="CUDA device id")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="number format")
    parser.add_argument("-b", "--base_model", help="hub id or folder of the base (default: what the system names)")
    parser.add_argument("--token_budget", type=int, help="tokens per batch (default: by memory)")
    parser.add_argument(
        "--trust_remote_code", type=truth, metavar="0|1", default=False, help="run the base model's code"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    return parser


def evaluate_program(arguments: list[str] | None = None) -> int:
    """evaluate.py. Returns the exit code."""
    options = evaluate_parser().parse_args(arguments)
    front_doors.log_to(None)
    if options.limit is not None and options.limit < 1:
        raise UserError(f"--limit is {options.limit}; wanted at least 1")
    system = load_system(_system_folder(Path(options.folder)), options.base_model)
    eval_type, name = options.eval_type or system.about.get("eval"), options.dataset or system.about.get("dataset")
    # make_config is the one place that says what is missing
    engine_options = {key: getattr(options, key) for key in ("gpus", "dtype", "token_budget", "trust_remote_code")}
    config = make_config({"eval_type": eval_type, "dataset": name} | engine_options)
    evaluation = get_eval(str(config.eval_type))
    dataset = load_dataset(str(config.dataset), options.data_directory)
    dataset = limit(dataset, *((options.limit, None) if options.split == "dev" else (None, options.limit)))
    params = front_doors.generation_params(evaluation, dataset, options.max_new_tokens, options.chat)
    as_found = system.about.get("eval") == evaluation.name and system.about.get("dataset") == dataset.name
    if as_found and system.params and options.max_new_tokens is None and options.chat is None:
        params = system.params
    fitness = Fitness(front_doors.make_engine(system.pool, config), evaluation, dataset, params, "strict")
    examples = dataset.dev if options.split == "dev" else dataset.test
    scores = summarise(fitness.judge([system], examples)[0])
    _show(options, system, scores)
    return front_doors.DONE


def _system_folder(folder: Path) -> Path:
    return folder / BEST if (folder / BEST).is_dir() else folder


def _show(options: Any, system: LoadedSystem, scores: dict[str, Any]) -> None:
    if options.json:
        log.info("%s", json.dumps({"folder": options.folder, "split": options.split, "scores": scores}))
        return
    for line in graph_as_text(system):
        log.info("%s", line)
    for scorer in sorted(scores, key=lambda name: name != "strict"):
        one = scores[scorer]
        log.info("%s %s score: %.3f [%.3f, %.3f] n=%d", options.split, scorer, *one.values())
