"""Makes a dataset of graph questions, for example the one that comes with the repository:

h-swarm data graph --style small --dev 120 --test 600 --seed 0 --out data/eval/graph_tasks_small.json
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarm.data.graph_tasks import STYLES, Difficulty, make_dataset
from swarm.errors import UserError
from swarm.evolution.command_line import Parser
from swarm.storage.files import write_json


def graph_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; every default is the value that is used, so the printed command says all."""
    parser = Parser(prog="h-swarm data graph", description="Make a dataset of graph questions with known answers.")
    parser.add_argument(
        "--style", choices=tuple(STYLES), default="small", help="small: one word per edge; large: sentences"
    )
    parser.add_argument("--dev", type=int, default=120, help="questions that a search sees")
    parser.add_argument("--test", type=int, default=600, help="questions for the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nodes", type=int, nargs=2, metavar=("FEWEST", "MOST"), help="size of large graphs (8 20)")
    parser.add_argument("--density", type=float, help="share of the pairs with an edge in large graphs (0.3)")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--replace", action="store_true", help="though the file is there already")
    args = parser.parse_args(arguments)
    if args.style == "small" and (args.nodes is not None or args.density is not None):
        parser.error("--nodes and --density are for --style large; small graphs have five nodes")
    if min(args.dev, args.test) < 1:
        parser.error(f"a dataset has at least one question in each split, but got --dev {args.dev} --test {args.test}")
    return args


def make(args: argparse.Namespace) -> dict[str, Any]:
    """The dataset that the command line asks for."""
    asked = {"nodes": tuple(args.nodes) if args.nodes else None, "density": args.density}
    difficulty = Difficulty(**{key: value for key, value in asked.items() if value is not None})
    return make_dataset(args.style, args.dev, args.test, args.seed, difficulty)


def command(args: argparse.Namespace) -> str:
    """The command that makes the same file again."""
    words = ["h-swarm", "data", "graph"]
    for name, value in vars(args).items():
        if value is not None and name != "replace":
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def graph_program(arguments: Sequence[str] | None = None) -> int:
    """Makes the dataset, writes it and says how to make it again. Returns the exit code."""
    args = graph_options(arguments)
    if args.out.exists() and not args.replace:
        raise UserError(f"--out {args.out} is there; name a new file, or add --replace")
    try:
        content = make(args)
    except ValueError as error:
        raise UserError(str(error)) from error
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, content, indent=1)
    print(f"{args.out}: {len(content['dev'])} dev, {len(content['test'])} test. Make it again with\n{command(args)}")
    return 0
