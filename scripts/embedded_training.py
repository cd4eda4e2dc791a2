"""What the scripts that train the embedded models share: cases to learn from, the training loop, and their scores."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, get_cosine_with_min_lr_schedule_with_warmup
from transformers import PreTrainedTokenizerFast as Tokens

from swarm.data.graph_tasks import SKILLS, make_dataset, small_question

UNKNOWN = "unknown"
BATCH = 64
EVAL_SEED, EVAL_COUNT = 777, 600  # the questions of the model cards: the same for every training seed

Sample = tuple[str, str]
"""A prompt and the one-word answer that is trained."""


def parse_training(description: str, steps: Mapping[str, int]) -> argparse.Namespace:
    """The command line of a training script; `steps` are its options for numbers of steps, with their defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must be new or empty")
    parser.add_argument("--seed", type=int, default=0, help="decides all data and initial weights")
    for name, default in steps.items():
        parser.add_argument(f"--{name}", type=int, default=default, help="(default: %(default)s)")
    # More threads gain little on matrices this small, and on a busy machine they wait for each other ten times as long.
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; another number may give other last digits")
    args = parser.parse_args()
    check_new(parser, args.out)
    return args


def check_new(parser: argparse.ArgumentParser, folder: Path) -> None:
    """Ends the program, as for other mistakes of the command line, where there is something in the folder."""
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty; name a new folder, or delete this one first")


def special_ids(tokenizer: Tokens) -> dict[str, int]:
    """The token numbers that model and generation settings repeat."""
    return {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}


@dataclass(frozen=True)
class Heard:
    """What previous responses are like in training.

    Attributes:
      counts: how many there are, where there are any; each is as likely.
      right, unknown: the share of them that is right, and that is 'unknown'; the others are drawn from all answers.
    """

    counts: tuple[int, ...]
    right: float
    unknown: float


HEARD = Heard((1, 1, 1, 2, 2, 3, 4, 5), 0.4, 0.4)
HEARD_BY_VOICES = Heard((1, 1, 2, 2, 3, 4, 5, 6), 0.5, 0.1)


def draw_case(
    weights: dict[str, float], none: float, rng: np.random.Generator, heard: Heard = HEARD
) -> tuple[str, str, str, list[str]]:
    """A skill (chances in proportion to `weights`), a question about it, its answer, and previous responses.

    With chance `none` nobody has responded, else as many as `heard` has it.
    """
    skill = str(rng.choice(list(weights), p=np.array(list(weights.values())) / sum(weights.values())))
    question, gold = small_question(skill, held_out=False, rng=rng)
    count = 0 if rng.random() < none else heard.counts[rng.integers(len(heard.counts))]
    answers = SKILLS[skill].answers
    previous = [
        gold if kind < heard.right
        else UNKNOWN if kind < heard.right + heard.unknown
        else answers[rng.integers(len(answers))]
        for kind in rng.random(count)
    ]  # fmt: skip
    return skill, question, gold, previous


def plurality(responses: Sequence[str]) -> str:
    """The most frequent known response, the earliest among equals; 'unknown' if none is known."""
    known = [response for response in responses if response != UNKNOWN]
    return max(known, key=known.count) if known else UNKNOWN


def last_logits(model: PreTrainedModel, tokenizer: Tokens, texts: Sequence[str], count: int) -> torch.Tensor:
    """Next-token logits at the last `count` tokens of each text: (texts, count, vocabulary)."""
    rows = tokenizer(list(texts))["input_ids"]
    # Padding stands to the right, where the causal mask hides it from every position that is read.
    width = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])
    hidden = model.model(input_ids=ids).last_hidden_state  # (texts, width, hidden)
    last = torch.tensor([range(len(row) - count, len(row)) for row in rows])
    return model.lm_head(hidden[torch.arange(len(rows))[:, None], last])


def train(model: PreTrainedModel, tokenizer: Tokens, draw: Callable[[], Sample], steps: int, name: str) -> None:
    """Trains the parameters that require a gradient in place; prints how the loss goes."""
    start = time.monotonic()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = get_cosine_with_min_lr_schedule_with_warmup(optimiser, min(50, steps // 6), steps, min_lr_rate=0.05)
    eos = torch.full((BATCH,), tokenizer.eos_token_id)
    losses: list[float] = []
    for step in range(1, steps + 1):
        texts = [" ".join(draw()) for _ in range(BATCH)]
        logits = last_logits(model, tokenizer, texts, 2)
        gold = torch.tensor([row[-1] for row in tokenizer(texts)["input_ids"]])  # an answer is one token
        loss = cross_entropy(logits[:, 0], gold) + 0.1 * cross_entropy(logits[:, 1], eos)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % max(1, steps // 5) == 0:
            seconds = time.monotonic() - start
            print(f"{name}: step {step}/{steps}, loss {np.mean(losses):.3f}, {seconds:.0f} s", flush=True)
            losses.clear()


def replies(model: PreTrainedModel, tokenizer: Tokens, prompts: Sequence[str]) -> list[str]:
    """The first word that the model says to each prompt."""
    with torch.no_grad():
        first = last_logits(model, tokenizer, prompts, 1).argmax(dim=-1)  # (prompts, 1)
    return [word.strip() for word in tokenizer.batch_decode(first)]


def unseen_questions() -> list[dict[str, str]]:
    """The records of the model cards' questions."""
    return make_dataset("small", dev=0, test=EVAL_COUNT, seed=EVAL_SEED)["test"]


def accuracies(said: dict[str, list[str]], records: Sequence[dict[str, str]]) -> list[str]:
    """A table's rows: the share of right answers, in all and by skill, of everybody who has said something."""
    gold = np.array([record["answer"] for record in records])
    domain = np.array([record["domain"] for record in records])
    rows = [f"| | all | {' | '.join(SKILLS)} |", "|---" * (len(SKILLS) + 2) + "|"]
    for name, answers in said.items():
        right = np.array(answers) == gold
        shares = [right.mean(), *(right[domain == skill].mean() for skill in SKILLS)]
        rows.append(f"| {name} | {' | '.join(f'{share:.2f}' for share in shares)} |")
    return rows
