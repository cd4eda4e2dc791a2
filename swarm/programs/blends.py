"""Blends as baselines: all members' answers ranked, and the best of them fused."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from swarm.engines.local.side_models import speaking_of
from swarm.errors import UserError
from swarm.members.blending.blend_node import Blend, read_blend
from swarm.members.members import Members

RANKED, FUSED = "best-ranked answer", "best answers fused"


def blends_of(options: argparse.Namespace, names: Sequence[str]) -> tuple[Blend, ...]:
    """The blends over members of these names that the options ask for: RANKED, and FUSED if there is a fuser.

    Raises UserError for a model or number that cannot be; no model is loaded.
    """
    if options.ranker is None:
        if given := next((name for name in ("fuser", "top_k") if getattr(options, name) is not None), None):
            raise UserError(f"--{given} is given without --ranker; name the model that finds the best answers")
        return ()
    record = {"type": "blend", "members": list(names), "ranker": options.ranker, "mode": options.ranking}
    path = Path("the command line")  # as messages begin, and as paths that count from here need it
    blends = [read_blend(Path(RANKED), record, path)]
    if options.fuser is not None:
        fusing = record | {"fuser": options.fuser} | ({} if options.top_k is None else {"top_k": options.top_k})
        blends.append(read_blend(Path(FUSED), fusing, path))
    elif options.top_k is not None:
        raise UserError("--top_k says how many answers a fuser reads; add --fuser, or leave it out")
    for blend in blends:
        with speaking_of(str(path)):
            blend.check_models()
    return tuple(blends)


def with_blends(members: Members, blends: Sequence[Blend]) -> Members:
    """The members with the blends added, as an engine and a scheduler need them."""
    return Members(members.pool, (*members.composites, *blends))
