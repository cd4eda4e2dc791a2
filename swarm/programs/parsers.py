"""The parsers of the commands; nothing heavy is imported for them, so that help and typing errors are quick."""

import argparse
import sys
from pathlib import Path
from typing import Any

from swarm.evolution.command_line import Parser, add_settings
from swarm.evolution.config import settings, settings_of
from swarm.members.blending.usual import GEN_FUSER, MODES, PAIRRM, TOP

RUNS = Path("search")
ALL = "all"
REMOVE = "rm"
LISTED = ("wrong", "lost", "won", "cut", "empty", "unreadable")
TRACKED = ("disabled", "auto", "online", "offline")
# where the default differs from a search's
_HELP = {
    "eval_type": "what scores an answer (default: what it was found by)",
    "dataset": "name or path (default: what it was found on)",
    "base_model": "hub id or folder of the base (default: what the system names)",
    "max_new_tokens": "tokens per answer (default: as it was found)",
    "chat": "use the chat template (default: as it was found)",
}


def evaluate_parser() -> Parser:
    """The parser of `h-swarm evaluate`."""
    taken = settings_of("evaluate")
    own = {"split", "limit", "by", "experts", "save_answers", "json"}
    shown = {setting.name for setting in taken if setting.common} | own
    parser = Parser(prog="h-swarm evaluate", description="Scores a found system again.", shown=shown)
    parser.add_argument("folder", help="a run (search/<name>) or a system's folder (search/<name>/best)")
    parser.add_argument("--split", default="test", choices=("dev", "test"), help="(default: test)")
    parser.add_argument(
        "--limit", type=_limit, metavar="N|all", help="only the first so many examples (default: as it was found)"
    )
    parser.add_argument("--by", metavar="COLUMN", help="scores by domain, or another column of the data, too")
    parser.add_argument("--experts", action="store_true", help="ask the run's first experts, too, each alone: what "
                        "only the system solves")  # fmt: skip
    parser.add_argument("--save-answers", type=Path, metavar="FILE", help="write every question with its answers "
                        "(docs/answers.md)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    add_settings(parser, taken, grouped=True, helps=_HELP)
    return parser


def _limit(text: str) -> int | str:
    """The value of a limit option: a number of examples, or all."""
    if text == ALL or text.removeprefix("-").isdecimal():
        return text if text == ALL else int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor {ALL}")


def baselines_parser() -> Parser:
    """The parser of h-swarm baselines: settings that mean the same for a search."""
    taken = settings_of("baselines")
    parser = Parser(
        prog="h-swarm baselines",
        description="Scores a constant answer, every member alone, the experts' uniform average, vote and blends.",
        shown={setting.name for setting in taken if setting.common} | {"split", "without_experts", "json"},
    )
    add_settings(parser, taken, grouped=True)
    parser.add_argument("--split", default="both", choices=("dev", "test", "both"), help="(default: both)")
    parser.add_argument(
        "--without-experts", action="store_true", help="score only the most frequent answer of dev; nothing is loaded"
    )
    add_blend_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    return parser


def add_ranker_options(parser: argparse.ArgumentParser, about: str) -> None:
    """Adds the options of the ranker."""
    parser.add_argument("--ranker", metavar="MODEL", help=about)
    parser.add_argument("--ranking", choices=MODES, default=MODES[0], help="compare all pairs of answers, or only as "
                        "many as the first places take (default: all)")  # fmt: skip


def add_blend_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the ranker and of the fuser."""
    add_ranker_options(parser, f"model that compares two answers, such as {PAIRRM}: also score what it finds best")
    parser.add_argument("--fuser", metavar="MODEL", help=f"encoder-decoder, such as {GEN_FUSER}: also score what it "
                        "makes of the best answers")  # fmt: skip
    parser.add_argument("--top_k", type=int, help=f"how many answers it reads (default: {TOP}, or all if fewer)")


def finetune_parser() -> Parser:
    """The parser of h-swarm finetune."""
    parser = Parser(
        prog="h-swarm finetune",
        usage="h-swarm finetune RECIPE [options]",
        description="Trains the LoRA experts of a recipe (YAML or JSON); goes on where it was stopped.",
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="the file that lists experts, bases and data")
    parser.add_argument("--out", type=Path, help="where each expert gets a folder (default: the recipe's out)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="train these experts of the recipe only")
    parser.add_argument("--check", action="store_true", help="check recipe and data, say what would be done, and end")
    parser.add_argument("--wandb", default="disabled", choices=TRACKED, help="where losses go (default: disabled)")
    return parser


class _RunsParser(Parser):
    """Knows the words of `runs rm`, too."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = sys.argv[1:] if args is None else args
        if words[:1] == [REMOVE]:
            return remove_parser().parse_args(words[1:])
        return super().parse_args(words, namespace)


def runs_parser() -> Parser:
    """The parser of `h-swarm runs`."""
    usage = "h-swarm runs [FOLDER] [--json]\n       h-swarm runs rm NAME [NAME ...] [--yes]"
    parser = _RunsParser(prog="h-swarm runs", usage=usage, description="Lists runs, the newest first, or removes some.")
    parser.add_argument("folder", nargs="?", type=Path, default=RUNS, help="where they lie (default: search)")
    parser.add_argument("--json", action="store_true", help="print one JSON list only")
    return parser


def remove_parser() -> Parser:
    """The parser of `h-swarm runs rm`."""
    parser = Parser(prog="h-swarm runs rm", description=f"Removes runs below {RUNS}; lists them first, and asks.")
    parser.add_argument("names", nargs="+", metavar="NAME", help=f"names of folders in {RUNS}")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def compare_parser() -> Parser:
    """The parser of `h-swarm compare`."""
    parser = Parser(
        prog="h-swarm compare",
        description="Compares what runs have found, question by question, and says in which settings they differ.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="search/<name>; the first is compared with "
                        "every other one")  # fmt: skip
    parser.add_argument("--split", default="test", choices=("dev", "test"), help="whose questions (default: test)")
    parser.add_argument("--common", action="store_true", help="compare on the questions that all of them have")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    return parser


def show_parser() -> Parser:
    """The parser of `h-swarm show`."""
    parser = Parser(prog="h-swarm show", description="Shows what a run has found, what moved, and what was answered.")
    parser.add_argument("run", type=Path, metavar="RUN", help="search/<name> (h-swarm runs lists them)")
    parser.add_argument("--split", default="test", choices=("dev", "test"), help="whose questions (default: test)")
    parser.add_argument("--question", metavar="N", help="a question's number or id: who was asked what, and answered")
    parser.add_argument("--only", choices=LISTED, metavar="|".join(LISTED), help="list the questions that the system "
                        "has wrong, lost to the best single expert, won against it, or with a reply that was cut, is "
                        "empty or cannot be read")  # fmt: skip
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="list so many at most (default: 20)")
    parser.add_argument("--by", metavar="COLUMN", help="scores by domain, or another column of the data")
    return parser


def ask_parser() -> Parser:
    """The parser of `h-swarm ask`."""
    taken = settings_of("ask")
    parser = Parser(
        prog="h-swarm ask",
        usage='h-swarm ask RUN "question"\n       h-swarm ask RUN --file questions.txt\n       h-swarm ask RUN',
        description="Asks a found system: a question, the lines of a file or of standard input, or in a conversation.",
        shown={"question", "file", "trace", "json", "max_new_tokens", "chat", "gpus"},
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run (search/<name>) or a system's folder")
    parser.add_argument("question", nargs="?", help="the question; - for one in every line of standard input")
    parser.add_argument("--file", type=Path, metavar="FILE", help="a question in every line, or .jsonl, .csv, .parquet "
                        "with a column question, and choices if there are any")  # fmt: skip
    parser.add_argument("--trace", action="store_true", help="show what every node was asked and answered")
    parser.add_argument("--json", action="store_true", help="print a JSON object for every question")
    helps = {"max_new_tokens": _HELP["max_new_tokens"], "chat": _HELP["chat"], "base_model": _HELP["base_model"]}
    add_settings(parser, [settings()[name] for name in ("max_new_tokens", "chat")], helps=helps)
    add_settings(parser, taken, grouped=True, helps=helps)
    return parser
