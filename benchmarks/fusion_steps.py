"""The fused step: at two real vocabularies against autograd over dense rows, and where dense rows do not fit."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import fusion_floor, published_fusion
from benchmarks.fusion_worlds import LOGITS, Members, Real, sweep
from benchmarks.measure import Goal, Row, Seconds, check_equal, interleaved, median_of, ratio_at_least
from swarm.members.fusion.fused_step import FusedStep, StepResult
from swarm.members.fusion.rows import DenseRows, RelativeRows, RowSource

CAPACITY = 1 << 28  # bytes of rows that each model keeps
AT_MOST_WARM = 5  # milliseconds
Step = list[Tensor]


@dataclass(frozen=True)
class Size:
    """How much of it: width of embeddings, steps that are timed, steps of a text."""

    width: int = 1024
    steps: int = 3
    text: int = 24


@dataclass(frozen=True)
class Synthetic:
    """Vocabularies without strings: models, tokens, anchors; whether the step has a limit."""

    name: str
    models: int
    tokens: int
    anchors: int
    limited: bool = False


def real_rows(real: Real, size: Size, repeats: int) -> list[Row]:
    """At the real vocabularies."""
    return beside_the_reference(
        Members.drawn([len(one) for one in real.tokenizers], real.anchors, size.width), size, repeats
    )


def beside_the_reference(members: Members, size: Size, repeats: int) -> list[Row]:
    """Dense and lazy rows against the reference, whose rows are the same numbers."""
    sources = [RowSource(*pair) for pair in zip(members.embeddings, members.anchors, strict=True)]
    dense = [DenseRows.build(source) for source in sources]
    steps = members.steps(size.steps)
    tables = [rows.all() for rows in dense]
    _check_rows(members, tables)
    settings = published_fusion.Settings([1 / len(tables)] * len(tables))
    chosen: dict[str, list[int]] = {}

    def reference(logits: Step) -> int:
        return int(published_fusion.fused_logits([own[0] for own in logits], tables, settings).argmax())

    lazy = members.lazy(CAPACITY)
    ways = {
        "reference": _way(steps, reference, chosen, "reference"),
        "dense": _way(steps, _fused(dense, members.anchors), chosen, "dense"),
        "lazy cold": cold(members, steps, chosen),
        "lazy warm": _way(steps, _fused(lazy, members.anchors), chosen, "lazy warm"),
    }
    seconds = interleaved(ways, repeats)
    for name in ("dense", "lazy cold", "lazy warm"):
        check_equal(chosen[name], chosen["reference"], f"tokens of the fused step, {name}")
    figures = {name: median_of(own, "ms", 1000) for name, own in seconds.items()}
    about = _about(members, len(steps), steps[0])
    held = sum(4 * table.numel() for table in tables) / 1e9
    goals = {"lazy warm": (ratio_at_least(100),)}
    notes = {
        "dense": f"float32 rows of {held:.1f} GB, which the reference reads too; {about}",
        "lazy cold": "every step with no row known; all else as above",
        "lazy warm": "every row known, in bfloat16; all else as above",
    }
    return [
        Row(f"fusion: step, {name}", figures[name], figures["reference"], goals=goals.get(name, ()), note=note)
        for name, note in notes.items()
    ]


def synthetic_rows(world: Synthetic, size: Size, repeats: int) -> list[Row]:
    """Lazy rows at a vocabulary where dense ones do not fit: cold, warm, and along a text."""
    members = Members.drawn([world.tokens] * world.models, world.anchors, size.width, torch.bfloat16)
    steps = members.steps(size.steps)
    chosen: dict[str, list[int]] = {}
    lazy = members.lazy(CAPACITY)
    ways = {
        "lazy cold": cold(members, steps, chosen),
        "lazy warm": _way(steps, _fused(lazy, members.anchors), chosen, "lazy warm"),
        **fusion_floor.ways(FusedStep(lazy, members.anchors), steps, world.anchors),
    }
    seconds = interleaved(ways, repeats)
    check_equal(chosen["lazy cold"], chosen["lazy warm"], "tokens of the fused step, cold and warm")
    floor = median_of(seconds[fusion_floor.READING], "ms", 1000)
    along, share, kept = _along_a_text(members, size.text)
    limit = Goal(f"≤ {AT_MOST_WARM} ms", lambda row: row.ours.value <= AT_MOST_WARM)
    dense = sum(4 * len(own) * world.anchors for own in members.embeddings) / 1e9
    notes = {
        "lazy cold": f"every step with no row known; dense rows would be {dense:,.0f} GB; "
        + _about(members, len(steps), steps[0]),
        "lazy warm": "every row known; the floor is reading the rows that a step asks for once; all else as above",
        fusion_floor.INVERSE: "its products and updates, on as many rows as move, the last of what a warm step does",
    }
    rows = [
        Row(
            f"fusion: step, {world.name}, {name}",
            median_of(seconds[name], "ms", 1000),
            floor=floor if name == "lazy warm" else None,
            goals=(limit,) if world.limited and name == "lazy warm" else (),
            note=note,
        )
        for name, note in notes.items()
    ]
    note = (
        f"{size.text} steps one after the other from no row known, median; {share:.0f} % of the rows asked for were "
        f"there, over the later half; room for {kept:,} of each model"
    )
    return [*rows, Row(f"fusion: step, {world.name}, along a text", median_of(along, "ms", 1000), note=note)]


def _along_a_text(members: Members, count: int) -> tuple[list[float], float, int]:
    """Seconds of each step, the share in percent of rows that were there in the later half, and how many fit."""
    lazy = members.lazy(CAPACITY)
    act = _fused(lazy, members.anchors)
    seconds, before = [], (0, 0)
    for number, logits in enumerate(members.steps(count, seed=1)):
        if number == count // 2:
            before = sum(rows.hits for rows in lazy), sum(rows.misses for rows in lazy)
        seconds.append(_timed(act, logits)[0])
    hits, misses = sum(rows.hits for rows in lazy) - before[0], sum(rows.misses for rows in lazy) - before[1]
    return seconds, 100 * hits / (hits + misses), lazy[0].slots


def cold(members: Members, steps: Sequence[Step], chosen: dict[str, list[int]]) -> Callable[[], Seconds]:
    """Seconds per step of steps that find no row; making the empty cache does not count."""

    def way() -> Seconds:
        passed = [_timed(_fused(members.lazy(CAPACITY), members.anchors), logits) for logits in steps]
        chosen["lazy cold"] = [token for _, token in passed]
        return Seconds(sum(seconds for seconds, _ in passed) / len(passed))

    return way


def _way(
    steps: Sequence[Step], act: Callable[[Step], int], chosen: dict[str, list[int]], name: str
) -> Callable[[], Seconds]:
    """Seconds per step of steps one after the other, whose tokens are put under a name."""

    def way() -> Seconds:
        passed = [_timed(act, logits) for logits in steps]
        chosen[name] = [token for _, token in passed]
        return Seconds(sum(seconds for seconds, _ in passed) / len(passed))

    return way


def _timed(act: Callable[[Step], int], logits: Step) -> tuple[float, int]:
    """Seconds of a step, and its token; the models would have read much else before it."""
    sweep()
    begun = time.perf_counter()
    token = act(logits)
    return time.perf_counter() - begun, token


def _fused(rows: Sequence[RelativeRows], anchors: Tensor) -> Callable[[Step], int]:
    step = FusedStep(rows, anchors)
    return lambda logits: int(step(logits).tokens)


def _check_rows(members: Members, tables: Sequence[Tensor]) -> None:
    """Some of our rows beside the plain way's."""
    for own, ids, table in zip(members.embeddings, members.anchors, tables, strict=True):
        some = torch.cat([own[:8], own[ids]])
        plain = published_fusion.relative_rows(some, torch.arange(8, len(some)), torch.float32)[:8]
        close = torch.allclose(table[:8], plain, atol=1e-5)
        check_equal([close], [True], "relative rows")


def _about(members: Members, count: int, first: Step) -> str:
    result: StepResult = FusedStep(members.lazy(CAPACITY), members.anchors)(first)
    looked_at = ", ".join(str(int(number)) for number in result.report.candidates[0])
    sizes = " and ".join(f"{len(own):,}" for own in members.embeddings)
    if len({len(own) for own in members.embeddings}) == 1:
        sizes = f"{len(members.embeddings)} × {len(members.embeddings[0]):,}"
    widths = members.embeddings[0].shape[1], members.anchors.shape[1]
    return (
        f"V = {sizes}, d = {widths[1]:,}, random embeddings, D = {widths[0]:,} "
        f"({str(members.embeddings[0].dtype).partition('.')[2]}), K = {looked_at}, at most "
        f"{float(result.report.dropped.max()):.1e} left out; mean of {count} steps; {LOGITS}; the processor's cache is "
        f"swept before each; {torch.get_num_threads()} thread(s)"
    )
