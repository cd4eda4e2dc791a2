"""Trains a world: a tiny base, LoRA experts of it, and questions, in minutes on one CPU core.

python scripts/train_world.py --kind composed --seed 10 --out worlds/composed-10
python search.py -e exact_match -d worlds/composed-10/questions.json -i worlds/composed-10/experts

world_kinds.py says what the kinds are. --betrayed, --errors, --independent and --steps turn its knobs to other worlds.
--kind separable with six experts is scripts/train_embedded_experts.py: of equal seeds, the same files.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from embedded_training import Sample, check_new, replies, special_ids, train
from peft import PeftModel
from train_embedded_experts import make_base, make_expert, save_expert
from transformers import GenerationConfig
from transformers import PreTrainedTokenizerFast as Tokens
from world_base import TEST, World
from world_card import write_card
from world_kinds import FILE, KINDS, QUESTIONS, make_world
from world_noise import make_wrong

ROUNDS, CHECKED = 3, 200


def train_world(world: World, out: Path, base_steps: int, expert_steps: int) -> None:
    """Trains base and experts and writes them with what they are, and the questions of search seed 0."""
    seed_rng, base_rng, *expert_rngs = np.random.default_rng(world.seed).spawn(2 + world.experts)
    base_seed, adapter_seed = seed_rng.integers(2**31, size=2).tolist()
    tokenizer = world.tokenizer
    base = make_base(tokenizer, base_seed)
    train(base, tokenizer, partial(world.base_sample, base_rng), base_steps, "base")
    base.generation_config = GenerationConfig(do_sample=False, **special_ids(tokenizer))
    base.save_pretrained(out / "base")
    tokenizer.save_pretrained(out / "base")
    for k, (name, rng) in enumerate(zip(world.names, expert_rngs, strict=True)):
        expert = make_expert(base, adapter_seed)
        train_expert(expert, tokenizer, partial(world.expert_sample, k, rng), expert_steps, name, world.trained_until)
        if world.knobs.errors:
            make_wrong(expert, k, world, tokenizer, rng)
        save_expert(expert, out / "experts" / name)
    (out / FILE).write_text(json.dumps(world.record(), indent=2) + "\n", encoding="utf8")


def train_expert(
    expert: PeftModel, tokenizer: Tokens, draw: Callable[[], Sample], steps: int, name: str, until: float
) -> None:
    """Trains an expert, again from where it is while fewer of its answers than `until` are right, `ROUNDS` in all."""
    for _ in range(ROUNDS):
        train(expert.get_base_model(), tokenizer, draw, steps, name)
        asked = [draw() for _ in range(CHECKED)] if until else []
        said = replies(expert.get_base_model(), tokenizer, [prompt for prompt, _ in asked]) if asked else []
        if sum(text == answer for text, (_, answer) in zip(said, asked, strict=True)) >= until * len(asked):
            return


def write_questions(world: World, path: Path, search_seed: int = 0, **sizes: int) -> None:
    """Writes the questions of a search as a data file."""
    path.write_text(json.dumps(world.dataset(search_seed, **sizes), indent=0) + "\n", encoding="utf8")


def parse() -> tuple[argparse.Namespace, World]:
    """The command line, and the world that it names."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--kind", required=True, help=f"{', '.join(KINDS)}, or a name for knobs of your own")
    parser.add_argument("--seed", type=int, default=0, help="decides all data and initial weights (default: 0)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must be new or empty")
    parser.add_argument("--experts", type=int, default=6, help="6 or 4 (default: 6)")
    parser.add_argument("--test", type=int, default=TEST, help="test questions (default: %(default)s)")
    for name in ("base_steps", "expert_steps"):
        parser.add_argument(f"--{name}", type=int, help="of training (default: the kind's)")
    for name, kind in (("betrayed", float), ("errors", float), ("independent", float), ("steps", int)):
        parser.add_argument(f"--{name}", type=kind, help="a knob (default: the kind's)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; another number may give other last digits")
    args = parser.parse_args()
    check_new(parser, args.out)
    turned = {name: getattr(args, name) for name in ("betrayed", "errors", "independent", "steps")}
    knobs = {name: value for name, value in turned.items() if value is not None}
    try:
        return args, make_world(args.kind, args.seed, args.experts, knobs)
    except ValueError as error:
        parser.error(str(error))


def main() -> None:
    """Trains, measures and writes everything."""
    args, world = parse()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)  # otherwise steps take twice as long once optimiser moments get tiny
    train_world(world, args.out, args.base_steps or world.base_steps, args.expert_steps or world.expert_steps)
    write_questions(world, args.out / QUESTIONS, test=args.test)
    given = " ".join(f"--{name} {value}" for name, value in vars(args).items() if value is not None)
    print("\n".join(write_card(world, args.out, f"scripts/train_world.py {given}", args.test)))


if __name__ == "__main__":
    main()
