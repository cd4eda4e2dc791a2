"""The one command, `h-swarm`: its first word says which program is meant."""

import sys

from swarm.programs.front_doors import guarded
from swarm.programs.subcommands import Subcommand, chosen_command

GUIDE = """first steps:
  h-swarm doctor                             whether a search can run here, and what to mend
  h-swarm demo                               a small search with toy experts, no GPU
  h-swarm search -e exact_match -d gsm8k -i my_experts --dry-run
every command has --help, and --help all; the docs are the folder docs/ of the repository"""


SUBCOMMANDS = {
    "search": Subcommand(
        "search for a system: a graph of roles, and the experts in them",
        "programs.search:search_program",
        "evolution.command_line:search_parser",
    ),
    "evaluate": Subcommand(
        "score a found system again, on these or other questions",
        "programs.evaluate:evaluate_program",
        "programs.parsers:evaluate_parser",
    ),
    "baselines": Subcommand(
        "what a search has to beat, scored first",
        "programs.baselines:baselines_program",
        "programs.parsers:baselines_parser",
    ),
    "route": Subcommand(
        "routers, which ask one member a question: rank, fit, eval, ask, replay", "programs.route.route:route_program"
    ),
    "deepen": Subcommand("token fusion of models with different vocabularies", "programs.deepen.deepen:deepen_program"),
    "finetune": Subcommand(
        "train LoRA experts from a recipe", "programs.finetune:finetune_program", "programs.parsers:finetune_parser"
    ),
    "data": Subcommand("bring, make and look at datasets", "programs.data.data:data_program"),
    "runs": Subcommand(
        "the runs in a folder, and what they found; runs rm removes some",
        "programs.runs:runs_program",
        "programs.parsers:runs_parser",
    ),
    "show": Subcommand(
        "what a run has found and changed, and what was answered to a question",
        "programs.show:show_program",
        "programs.parsers:show_parser",
    ),
    "ask": Subcommand(
        "put a question to a found system, or talk with it", "programs.ask:ask_program", "programs.parsers:ask_parser"
    ),
    "compare": Subcommand(
        "whether runs differ, question by question",
        "programs.compare:compare_program",
        "programs.parsers:compare_parser",
    ),
    "bench": Subcommand("measure what things cost here (needs a clone)", "programs.bench:bench_program"),
    "plugins": Subcommand(
        "evals, members, metrics, datasets and trackers that there are", "programs.list_plugins:plugins_program"
    ),
    "doctor": Subcommand(
        "whether a search can run on this machine, and what to mend", "programs.doctor:doctor_program"
    ),
    "demo": Subcommand("a small search with the toy experts that come along", "programs.demo:demo_program"),
}


def command_program(arguments: list[str]) -> int:
    """What the words ask for. Returns the exit code."""
    about = "Searches for multi-LLM systems: who tells whom, and the weights of every expert."
    return chosen_command("h-swarm", about, SUBCOMMANDS, arguments, GUIDE)


def main() -> int:
    """The console script. Returns the exit code."""
    return guarded(lambda: command_program(sys.argv[1:]))
