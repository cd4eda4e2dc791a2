"""A fusion as a member of the pool: who decodes together, and how."""

from dataclasses import dataclass

from swarm.engines.base import Member
from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.weights.pool import Expert


@dataclass(frozen=True)
class OtherModel:
    """A model of any family that takes part in a fusion; its weights stay as they are.

    Attributes:
      name: as node.json calls it, or its folder's.
      digest: of its content.
      model: its folder, or a hub id.
      revision: of a hub id.
      language: in which an encoder-decoder is to write, as its tokenizer calls it; "" leaves it to the model.
    """

    name: str
    digest: str
    model: str
    revision: str | None = None
    language: str = ""


@dataclass(frozen=True)
class FusionMember:
    """Models that write one text together, as they now are.

    Attributes:
      name: its folder's.
      digest: hash of its settings and of its members' digests.
      members: experts and other models; the first is the main model, in whose vocabulary the text is written.
      settings: with weights in the order of `members`.
    """

    name: str
    digest: str
    members: tuple[Member, ...]
    settings: FusionSettings

    kind = "fusion"

    @property
    def experts(self) -> list[Expert]:
        """Its members that move."""
        return [member for member in self.members if isinstance(member, Expert)]
