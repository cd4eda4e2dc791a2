"""Settings of a fuser, and the check of its model; no model is loaded for this."""

from dataclasses import dataclass

from swarm.engines.local.side_models import read_hub_config
from swarm.errors import UserError
from swarm.members.blending.usual import GEN_FUSER

WHAT = "answer fusion"
NEW_TOKENS = 128  # of a fused answer, as published


@dataclass(frozen=True)
class FuserSettings:
    """The settings that decide a fused text; the defaults are the published ones.

    Attributes:
      input_tokens: of the prompt with all answers, at most.
      candidate_tokens: of an answer, at most.
      beams: width of the beam search; 1 is greedy decoding.
    """

    input_tokens: int = 1024
    candidate_tokens: int = 128
    beams: int = 4


PUBLISHED = FuserSettings()


def check_fuser(name: str) -> None:
    """Raises UserError if `name` is no encoder-decoder's folder or hub id; its weights are not read."""
    config = read_hub_config(WHAT, name)
    if not config.get("is_encoder_decoder"):
        kind = config.get("model_type", "of an unknown kind")
        raise UserError(
            f"{WHAT}: {name} is no encoder-decoder but {kind}; name a sequence-to-sequence model such as {GEN_FUSER}"
        )
