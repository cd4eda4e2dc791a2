"""A fused step on an accelerator, beside a member's forward pass: models of Gemma-7B's size and vocabulary."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from benchmarks.card import Card
from benchmarks.card_world import random_rows
from benchmarks.fusion_worlds import LOGITS, Members
from benchmarks.measure import Goal, Measured, Row, median_of
from swarm.engines.local.stepper import make_stepper
from swarm.members.fusion.fused_step import FusedStep
from swarm.members.fusion.rows import LazyRows

BATCH = 8
STEPS = 3  # that differ; what they need together fits into the rows' memory
TURNS = 4  # how often each of them is timed
CAPACITY = 2 << 30  # bytes of rows that each model keeps
ANCHORS = 200, 256  # of so many tokens so many are common
WARM, COLD = 5, 15  # percent of the slowest member's forward pass


def fusion(card: Card) -> list[Row]:
    """The step of two models with every row known, for one prompt and for a batch, and with none known."""
    card.forget()
    dtype = getattr(torch, card.shape.dtype)
    model: Any = AutoModelForCausalLM.from_pretrained(card.folder / "base", dtype=dtype).to(card.device).eval()
    members = _members(model)
    found = []
    for batch in (1, BATCH):
        forward = _forward(card, model, batch)
        steps = members.steps(STEPS, batch=batch)
        name = "1 row" if batch == 1 else f"{batch} rows"
        warm, note = _warm(card, members, steps), _about(card, members, steps)
        found.append(_row(f"fusion, {name}, warm", warm, forward, WARM, note))
        if batch == 1:
            note = "every step with no row known; all else as above"
            found.append(_row(f"fusion, {name}, cold", _cold(card, members, steps), forward, COLD, note))
    return found


def _members(model: Any) -> Members:
    """The model, and one whose tokens have other numbers: of the second a step needs only the embeddings."""
    table = model.get_input_embeddings().weight.detach()
    rng = torch.Generator().manual_seed(0)
    order = torch.randperm(len(table), generator=rng)
    ids = [torch.randperm(len(table), generator=rng)[: len(table) * ANCHORS[0] // ANCHORS[1]] for _ in range(2)]
    return Members([table, table[order.to(table.device)]], torch.stack(ids))


def _forward(card: Card, model: Any, batch: int) -> Measured:
    """One more token for each row, behind prompts of the shape's lengths."""
    rows = random_rows(card.shape, batch)
    stepper = make_stepper(model)
    stepper.open(rows, STEPS * TURNS + 2)
    places = list(range(batch))
    seconds = []
    rng = np.random.default_rng(2)
    for turn in range(STEPS * TURNS + 1):
        seconds.append(card.timed(stepper.logits, places))
        for place, token in zip(places, rng.integers(3, card.shape.model["vocab_size"], size=batch), strict=True):
            stepper.append(place, int(token))
        if turn == 0:
            seconds.clear()  # that one has read the prompts
    stepper.close()
    return median_of(seconds, "ms", 1000)


def _warm(card: Card, members: Members, steps: Sequence[list[Tensor]]) -> Measured:
    act = _fused(members.lazy(CAPACITY), members)
    for logits in [*steps, *steps]:
        act(logits)
    return median_of([card.timed(act, logits) for _ in range(TURNS) for logits in steps], "ms", 1000)


def _cold(card: Card, members: Members, steps: Sequence[list[Tensor]]) -> Measured:
    """What runs for the first time on a device takes longer: the warm steps have to come before."""
    return median_of(
        [card.timed(_fused(members.lazy(CAPACITY), members), logits) for _ in range(TURNS) for logits in steps],
        "ms",
        1000,
    )


def _fused(rows: Sequence[LazyRows], members: Members) -> Callable[[list[Tensor]], object]:
    step = FusedStep(rows, members.anchors)
    return lambda logits: step(logits).tokens.tolist()


def _row(name: str, ours: Measured, forward: Measured, limit: int, note: str) -> Row:
    goal = Goal(f"≤ {limit} % of the forward", lambda row: 100 * row.ours.value <= limit * forward.value)
    return Row(name, ours, forward, goals=(goal,), note=note)


def _about(card: Card, members: Members, steps: Sequence[list[Tensor]]) -> str:
    report = FusedStep(members.lazy(CAPACITY), members.anchors)(steps[0]).report
    count, width = members.embeddings[0].shape
    return (
        f"reference: the forward pass of one token a row behind {card.shape.lengths[0]} to {card.shape.lengths[1]}; "
        f"2 models, V = {count:,}, D = {width:,}, d = {members.anchors.shape[1]:,}, K up to "
        f"{int(report.candidates.max())}, "
        f"at most {float(report.dropped.max()):.1e} left out; every row known, in bfloat16; {LOGITS}{card.peak()}"
    )
