"""Composites of type blend: all members answer, a model ranks the answers, another one may fuse the best of them.

This is LLM-Blender (arXiv 2306.02561): PairRanker, and GenFuser over the first three.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from swarm.engines.base import Completion, Member, Request
from swarm.engines.local.side_models import located, read_hub_config
from swarm.errors import UserError
from swarm.members.blending.blend_request import PARAMS, Fuses, Ranks, asked, order_of
from swarm.members.blending.fuser_settings import PUBLISHED, FuserSettings, check_fuser
from swarm.members.blending.usual import GEN_FUSER, MODES, PAIRRM, TOP
from swarm.members.composite import (
    NODE_FILE,
    Composite,
    Relay,
    check_keys,
    json_digest,
    located_model,
    member_names,
    one_of,
)
from swarm.weights.base_model import base_model_digest, model_folder

VERSION = 1  # to be raised with every change to ranking or fusing that can change a text
OF_A_FUSER = ("top_k", *asdict(PUBLISHED))


@dataclass(frozen=True)
class Blend(Composite):
    """A composite of type blend.

    Attributes:
      ranker: folder or hub id of a model that compares answers.
      fuser: of an encoder-decoder; None where the best answer is the answer.
      top_k: how many answers, the best, the fuser reads.
      mode: how the ranker finds those, see `swarm.members.blending.pairwise`.
      settings: how the fuser reads and writes.
    """

    ranker: str
    fuser: str | None = None
    top_k: int = 1
    mode: str = MODES[0]
    settings: FuserSettings = PUBLISHED

    def with_members(self, members: Mapping[str, Member]) -> "Blended":
        """One that asks the members as they now are."""
        answering = tuple(members[name] for name in self.members)
        ranks = Ranks(self.name, self._ranking, self.ranker, content_of(self.ranker), self.mode, self._places)
        fuses = None
        if self.fuser:
            fuses = Fuses(self.name, self._fusing, self.fuser, content_of(self.fuser), self.settings)
        digest = json_digest("blend", self.digest, [one.digest for one in answering])
        return Blended(self.name, digest, answering, ranks, fuses, self.top_k)

    @property
    def digest(self) -> str:
        """Of its members' names, its settings and the content of both models, wherever those lie."""
        return json_digest("blend", list(self.members), self._ranking, self.top_k, self._fusing)

    @property
    def models(self) -> tuple[tuple[str, str | None], ...]:
        """The ranker, and the fuser if there is one."""
        return tuple(located(model) for model in (self.ranker, self.fuser) if model is not None)

    def check_models(self) -> None:
        """Raises UserError if ranker or fuser cannot be had, or the latter is no encoder-decoder."""
        read_hub_config("ranker", self.ranker)
        if self.fuser is not None:
            check_fuser(self.fuser)

    @property
    def _places(self) -> int:
        """How many places the ranker is asked for: all that it sees anyway, or no more than are needed."""
        return len(self.members) if self.mode == "all" else self.top_k

    @property
    def _ranking(self) -> str:
        return json_digest("rank", VERSION, content_of(self.ranker), self.mode, self._places)

    @property
    def _fusing(self) -> str:
        return json_digest("fuse", VERSION, content_of(self.fuser), asdict(self.settings)) if self.fuser else ""

    def write(self, folder: Path) -> None:
        """Its folder again; the models stay where they are."""
        folder.mkdir(parents=True)
        models = {"ranker": self.ranker} | ({"fuser": self.fuser} if self.fuser else {})
        record = dict(self.record) | models
        (folder / NODE_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf8")


@dataclass(frozen=True)
class Blended(Relay):
    """A blend with its members: asks them all, then who of them is best, then for a text made of the best."""

    ranks: Ranks
    fuses: Fuses | None
    top_k: int
    kind = "blend"

    @property
    def sides(self) -> tuple[Ranks | Fuses, ...]:
        """The ranker, and the fuser if there is one."""
        return (self.ranks, *([self.fuses] if self.fuses else []))

    def pass_on(self, requests: Sequence[Request]) -> list[list[Request]]:
        """The same prompt for every member."""
        return [[replace(request, member=member) for member in self.members] for request in requests]

    def go_on(self, request: Request, stages: Sequence[Sequence[Completion]]) -> Completion | list[Request]:
        """The ranking of the answers, then the best one, or what is made of the best; members alone have a cost."""
        texts = [completion.text for completion in stages[0]]
        if len(stages) == 1:
            return [Request(self.ranks, asked(request.prompt, texts), PARAMS)]
        order = order_of(stages[1][0])
        if self.fuses is None:
            return Completion(texts[order[0]], 0, 0, stages[0][order[0]].was_cut(request.params))
        best = [texts[place] for place in order[: self.top_k]]
        if len(stages) == 2:
            return [Request(self.fuses, asked(request.prompt, best), replace(request.params, chat=False,
                                                                             second_bos=False))]  # fmt: skip
        return stages[2][0]


def read_blend(folder: Path, record: Mapping[str, Any], path: Path) -> Blend:
    """A blend. Raises UserError for a field that it cannot have, or a model's folder that is not there."""
    check_keys(path, record, ("type", "members", "ranker", "fuser", "mode", *OF_A_FUSER))
    members = member_names(path, record)
    ranker = _model(path, record, "ranker", PAIRRM)
    if ranker is None:
        raise UserError(f"{path} names no ranker; wanted the folder or hub id of a model that compares two answers, "
                        f"such as {PAIRRM}")  # fmt: skip
    mode = one_of(path, record, "mode", MODES)
    fuser = _model(path, record, "fuser", GEN_FUSER)
    if fuser is None:
        if idle := [field for field in OF_A_FUSER if field in record]:
            raise UserError(f"{path}: {idle[0]} is a fuser's, and there is none; name a fuser, or leave {idle[0]} out")
        return Blend(folder.name, folder, record, members, ranker, None, 1, mode)
    top_k = _number(path, record, "top_k", min(TOP, len(members)), 1, len(members))
    settings = FuserSettings(**{field: _number(path, record, field, value, 1) for field, value in
                                asdict(PUBLISHED).items()})  # fmt: skip
    return Blend(folder.name, folder, record, members, ranker, fuser, top_k, mode, settings)


@cache
def content_of(model: str) -> str:
    """Hash of a model's content, weights included; from the hub it is fetched if need be."""
    return base_model_digest(model_folder(*located(model), "in node.json"))


def _model(path: Path, record: Mapping[str, Any], field: str, example: str) -> str | None:
    """A model that the record names; `Blend.check_models` sees what it is. UserError for a folder that is not there."""
    given = record.get(field)
    if given is None:
        return None
    if not isinstance(given, str) or not given:
        raise UserError(f"{path}: {field} is {given!r}; wanted a model's folder or hub id, such as {example}")
    return located_model(path, given)


def _number(
    path: Path, record: Mapping[str, Any], field: str, default: int, least: int, most: int | None = None
) -> int:
    value = record.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        upto = f" to {most}, the number of members" if most is not None else " on"
        raise UserError(f"{path}: {field} is {value!r}; wanted a whole number from {least}{upto}")
    return value
