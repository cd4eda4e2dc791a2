"""`h-swarm data show`: how a dataset is read, before anything is asked."""

import logging
import shlex
import sys

from swarm.data.example import Example
from swarm.data.load import load_dataset
from swarm.data.names import dataset_names
from swarm.errors import UserError
from swarm.evolution.checked_config import make_config, with_present_names
from swarm.evolution.command_line import Parser, add_settings, given_settings
from swarm.evolution.config import settings_of
from swarm.evolution.setting import DATA, TASK
from swarm.programs import front_doors
from swarm.programs.data_sources import source_of

log = logging.getLogger(__name__)

SHOWN = 600  # characters of a question


def show_parser() -> Parser:
    """The parser of `h-swarm data show`."""
    parser = Parser(prog="h-swarm data show", description="Shows how a search reads a dataset.")
    taken = [setting for setting in settings_of("search") if setting.group in (TASK, DATA)]
    parser.add_argument("source", nargs="?", metavar="DATASET", help="the same as -d DATASET")
    add_settings(parser, [setting for setting in taken if setting.name not in ("eval_type", "compat", "plugin")])
    return parser


def show_program(arguments: list[str] | None = None) -> int:
    """`h-swarm data show`. Returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    options = show_parser().parse_args(words)
    front_doors.log_to(None)
    if options.source and options.dataset:
        raise UserError(f"{options.source} and -d {options.dataset} are two datasets; wanted one")
    if options.source:
        options.dataset, words = options.source, ["-d", options.source, *(w for w in words if w != options.source)]
    given = with_present_names(given_settings(options, "search"))
    config = make_config({"eval_type": "exact_match"} | given)
    evals = {}
    for name in dataset_names(str(config.dataset)):
        dataset = load_dataset(source_of(config, name))
        dev, test = len(dataset.dev), len(dataset.test)
        log.info("%s: %d dev, %d test (digest %s)", dataset.name, dev, test, dataset.digest[:12])
        for line in [*shape_of(dataset.dev), "", "the first question:", *first_question(dataset.dev[0]), ""]:
            log.info("%s", line)
        evals[dataset.name] = usual_eval(dataset.dev)
    log.info("before a search, what it has to beat:")
    several = ",".join(f"{name}={evaluation}" for name, evaluation in evals.items())
    usual = several if len(set(evals.values())) > 1 else next(iter(evals.values()))
    log.info("  h-swarm baselines -e %s %s", usual, shlex.join(words))
    return front_doors.DONE


def shape_of(examples: tuple[Example, ...]) -> list[str]:
    """What the examples of a split have, in lines of text."""
    fields = {
        "choices": sum(bool(example.choices) for example in examples),
        "context chunks": sum(bool(example.chunks) for example in examples),
    }
    lengths = sorted(len(example.question) for example in examples)
    middle = lengths[len(lengths) // 2]
    lines = [f"questions: {lengths[0]:,} to {lengths[-1]:,} characters, half of them up to {middle:,}"]
    return lines + [f"{name}: in {count} of {len(examples)}" for name, count in fields.items() if count]


def first_question(example: Example) -> list[str]:
    """A question and its answer, in lines of text."""
    text = example.question if len(example.question) <= SHOWN else f"{example.question[:SHOWN]} ..."
    choices = [f"  {letter}: {choice}" for letter, choice in (example.choices or {}).items()]
    return [*(f"  {line}" for line in text.splitlines()), *choices, f"answer: {example.answer}"]


def usual_eval(examples: tuple[Example, ...]) -> str:
    """The eval that fits most such questions."""
    return "multiple_choice" if all(example.choices for example in examples) else "exact_match"
