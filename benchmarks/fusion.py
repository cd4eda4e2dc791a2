"""Models with different vocabularies: what a fused step, a whole decoding and the rows of large vocabularies cost."""

import sys
from dataclasses import dataclass, field

from benchmarks import fusion_decoding, fusion_memory, fusion_real, fusion_steps
from benchmarks.fusion_steps import Synthetic
from benchmarks.fusion_worlds import real_vocabularies
from benchmarks.measure import Row


@dataclass(frozen=True)
class Size:
    """How much of it; of the real anchors one in so many."""

    steps: fusion_steps.Size = field(default_factory=fusion_steps.Size)
    synthetic: tuple[Synthetic, ...] = (
        Synthetic("V = 128k", 3, 128_256, 109_000, limited=True),
        Synthetic("V = 256k", 3, 256_000, 200_000),
    )
    decoding: fusion_decoding.Size = field(default_factory=fusion_decoding.Size)
    memory: fusion_memory.Size = field(default_factory=fusion_memory.Size)
    real_models: fusion_real.Size = field(default_factory=fusion_real.Size)
    one_in: int = 1


SMALL = Size(
    fusion_steps.Size(width=16, steps=2, text=4),
    (Synthetic("V = 2k", 3, 2000, 1500, limited=True),),
    fusion_decoding.Size(width=16, prompts=2, new_tokens=4),
    fusion_memory.Size(tokens=3000, anchors=2500, width=16, steps=2),
    fusion_real.Size(new_tokens=4),
    one_in=40,
)


def rows(size: Size, repeats: int) -> list[Row]:
    """Rows whose tokenizers or models are not at hand are left out, which is said."""
    found: list[Row] = []
    for world in size.synthetic:
        found += fusion_steps.synthetic_rows(world, size.steps, repeats)
    found += fusion_memory.rows(size.memory)
    folders = fusion_real.named_models()
    if folders is None:
        print(f"no real models ({fusion_real.MODELS}=MAIN:OTHER) ...", end=" ", file=sys.stderr, flush=True)
    else:
        found += fusion_real.rows(folders, size.real_models, repeats)
    real = real_vocabularies(size.one_in)
    if real is None:
        print("no ../shared/tokenizers: nothing at real vocabularies ...", end=" ", file=sys.stderr, flush=True)
        return found
    steps = fusion_steps.real_rows(real, size.steps, repeats)
    return [*steps, *found, *fusion_decoding.rows(real, size.decoding, repeats)]
