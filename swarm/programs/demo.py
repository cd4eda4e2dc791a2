"""h-swarm demo: the main job on any machine, on the small experts and questions that come with h-swarm."""

import argparse
import sys
from pathlib import Path

from swarm.data.embedded import QUESTIONS, embedded_experts
from swarm.errors import UserError
from swarm.evolution.checked_config import chosen_optimizer
from swarm.evolution.command_line import Parser, parse
from swarm.evolution.names import SWARM_NAME
from swarm.programs import front_doors
from swarm.programs.parsers import RUNS

# what nlgraph.sh searches with on the embedded experts, and beside that where it is the swarm; a test holds them equal
SETTINGS = "--seed 0"
OF_SWARM = (
    "--patience 6 --weight_randomness 1 --starting_velocity_mode random --repel_term 1 --restart_stray_particles 1 "
    "--restart_patience 0.67 --step_length_factor 0.95 --graph_num 8 --trial_num 8 --max_iteration 10 --inertia 0.3 "
    "--cognitive_coeff 0.3 --social_coeff 0.3 --repel_coeff 0.05 --step_length 0.3"
)
ABOUT = """h-swarm demo: searches for a system of six toy experts, 0.2 M parameters each, for questions about graphs.
Who talks to whom and the experts' weights both change. It takes a minute on two cores, without network; the run is kept
below search/."""
NEXT = """next:
  h-swarm evaluate {run}
      scores the found system again
  h-swarm search -e exact_match -d DATASET -i FOLDER
      your own questions, and your own experts: folders of LoRA adapters or full models of one base model
  h-swarm search --help
      what else can be set"""


def demo_program(arguments: list[str] | None = None) -> int:
    """The toy search of nlgraph.sh in the current folder; further arguments are those of a search. The exit code."""
    rest = _further(sys.argv[1:] if arguments is None else arguments)
    from swarm.programs.search import search_program  # brings torch, which help has no need of

    before = _results()
    words = demo_arguments()
    if chosen_optimizer(parse([*words, *rest])[0])[0] == SWARM_NAME:
        words += OF_SWARM.split()
    print(ABOUT, flush=True)
    code = search_program(words + rest)
    new = sorted(_results() - before)
    if code in (front_doors.DONE, front_doors.LIMIT_REACHED) and new:
        print(NEXT.format(run=new[-1].parent))
    return code


def demo_arguments() -> list[str]:
    """The arguments of search that make it the demo. Raises UserError if the package came without its experts."""
    experts = embedded_experts()
    if experts is None:
        raise UserError(
            "the embedded experts are not there, neither in data/embedded nor in the installed package: install "
            "h-swarm from a wheel or a whole clone"
        )
    return ["-e", "exact_match", "-d", QUESTIONS, "-i", str(experts), *SETTINGS.split()]


def _further(words: list[str]) -> list[str]:
    """What goes on to the search; ends the program after --help."""
    parser = Parser(
        prog="h-swarm demo",
        usage="h-swarm demo [options of h-swarm search, such as --seed 3 or -m 2]",
        description=ABOUT,
        epilog=f"is the same as: h-swarm search -e exact_match -d {QUESTIONS} -i EMBEDDED {SETTINGS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _, rest = parser.parse_known_args(words)
    if any(word.partition("=")[0] == "--resume" for word in rest):
        raise UserError("demo begins a new search, and --resume goes on with one: h-swarm search --resume RUN")
    return list(rest)


def _results() -> set[Path]:
    return set(RUNS.glob("*/result.json"))
