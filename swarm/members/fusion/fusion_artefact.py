"""The saved anchors of a fusion, checked against the given models when they are loaded.

Anchors are columns that all models of a fusion share. Columns of another list, ids of another tokenizer or rows of
another embedding matrix fit in shape and give garbage without a word; so a digest of each is kept and compared.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from swarm.errors import UserError
from swarm.members.fusion.anchors import Anchors, keys_digest
from swarm.members.fusion.vocabulary import Key, Vocabulary
from swarm.storage.files import file_digest
from swarm.storage.store import KeptFolder

TENSORS, FACTS = "anchors.safetensors", "fusion.json"
AGAIN = "build it again with `h-swarm deepen matrix`"
ARTEFACTS = KeptFolder(
    FACTS,
    "artefact of a fusion",
    AGAIN,
    1,
    ("keys", "selection", "anchors", "tensors", "centred", "normalised", "members"),
)
_BLOCK = 1 << 22  # numbers of an embedding matrix that are hashed at a time


@dataclass(frozen=True)
class MemberFacts:
    """Digests of one model of a fusion.

    Attributes:
      name: as messages say it.
      tokenizer: digest of its vocabulary and rules.
      embedding: digest of its input embedding matrix, values in float32.
      rows: of that matrix.
      self_mass: mean share of an anchor's own column in its row of the relative representation, which is next to
        nothing with many anchors, whatever they are: kept for earlier versions, which do not read a file without.
    """

    name: str
    tokenizer: str
    embedding: str
    rows: int
    self_mass: float


@dataclass(frozen=True)
class FusionArtefact:
    """The anchors of a fusion, what they were made from, and perhaps the dense relative representations.

    Attributes:
      anchors: d anchors of N models.
      members: N, in the order of `anchors.ids`.
      centred: whether the mean embedding was subtracted before similarities were taken.
      normalised: whether each row of similarities was divided by its length.
      rows: per model (V, d), or empty where rows are made as they are needed.
    """

    anchors: Anchors
    members: tuple[MemberFacts, ...]
    centred: bool = False
    normalised: bool = True
    rows: tuple[torch.Tensor, ...] = ()


def embedding_digest(embedding: torch.Tensor) -> str:
    """SHA-256 of shape and values, in float32, so that a bfloat16 checkpoint loaded in float32 is the same."""
    digest = hashlib.sha256(str(tuple(embedding.shape)).encode())
    rows = max(1, _BLOCK // max(1, embedding.shape[-1]))
    for block in embedding.detach().split(rows):
        digest.update(block.float().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def member_facts(vocabulary: Vocabulary, embedding: torch.Tensor, self_mass: float) -> MemberFacts:
    """The `MemberFacts` of a model."""
    digest = embedding_digest(embedding)
    return MemberFacts(vocabulary.name, vocabulary.digest, digest, len(embedding), float(self_mass))


def save_artefact(folder: Path, artefact: FusionArtefact) -> None:
    """Writes the folder whole or not at all; one that is there and is no artefact is not written over (UserError).

    The dense rows are given for all models or for none.
    """
    if artefact.rows and len(artefact.rows) != len(artefact.members):
        raise ValueError(f"rows of {len(artefact.rows)} models, wanted those of all {len(artefact.members)} or none")
    tensors = {"ids": artefact.anchors.ids.to(torch.int32).contiguous()}
    tensors |= {f"rows.{index}": rows.detach().cpu().contiguous() for index, rows in enumerate(artefact.rows)}
    facts: dict[str, Any] = {
        "keys": artefact.anchors.rule,
        "selection": artefact.anchors.selection,
        "count": len(artefact.anchors),
        "anchors": artefact.anchors.digest(),
        "centred": artefact.centred,
        "normalised": artefact.normalised,
        "members": [asdict(member) for member in artefact.members],
    }
    try:
        with ARTEFACTS.writing(folder, facts) as new:
            save_file(tensors, new / TENSORS)
            facts["tensors"] = file_digest(new / TENSORS)
    except SafetensorError as error:
        raise UserError(f"{folder} cannot be written ({error}); make room, or name another folder") from error


def saved_rule(folder: Path) -> str:
    """The rule of the saved keys, by which vocabularies are to be read; UserError as `load_artefact`."""
    return str(ARTEFACTS.read(folder)["keys"])


def saved_digest(folder: Path) -> str:
    """SHA-256 of the artefact's content, whatever its name and folder; UserError as `load_artefact`."""
    ARTEFACTS.read(folder)
    return file_digest(folder / FACTS)


def load_artefact(
    folder: Path, vocabularies: Sequence[Vocabulary], embeddings: Sequence[torch.Tensor]
) -> FusionArtefact:
    """The artefact in a folder, with its models in the order in which they are given here.

    The models may stand in another order than when it was saved (another one may be main), but must be the same ones:
    tokenizers and embedding matrices are compared by content.

    Raises UserError if it is missing or damaged, or was made from other models or by another rule: what differs, and
    the cure.
    """
    facts = ARTEFACTS.read(folder)
    members = _members(folder, facts)
    path = folder / TENSORS
    if not path.is_file() or file_digest(path) != facts["tensors"]:
        raise UserError(f"{path} is missing or not the one that {FACTS} was written with; {AGAIN}")
    order = _order(folder, members, vocabularies, [embedding_digest(embedding) for embedding in embeddings])
    tensors = load_file(path)
    ids = tensors["ids"].long()[order]
    keys = _checked_keys(folder, facts, ids, vocabularies)
    rows = tuple(tensors[f"rows.{index}"] for index in order if f"rows.{index}" in tensors)
    anchors = Anchors(keys, ids, str(facts["keys"]), str(facts["selection"]))
    named = tuple(replace(members[index], name=own.name) for index, own in zip(order, vocabularies, strict=True))
    return FusionArtefact(anchors, named, bool(facts["centred"]), bool(facts["normalised"]), rows)


def _members(folder: Path, facts: dict[str, Any]) -> list[MemberFacts]:
    try:
        names = [field.name for field in fields(MemberFacts)]
        return [MemberFacts(**{name: member[name] for name in names}) for member in facts["members"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / FACTS} is damaged (members: {error!r}); {AGAIN}") from error


def _order(
    folder: Path, saved: list[MemberFacts], vocabularies: Sequence[Vocabulary], embeddings: Sequence[str]
) -> list[int]:
    """The index of every given model among the saved ones."""
    if len(saved) != len(vocabularies):
        names = ", ".join(member.name for member in saved)
        raise UserError(f"{folder} was made for {len(saved)} models ({names}), given {len(vocabularies)}; {AGAIN}")
    known = [(member.tokenizer, member.embedding) for member in saved]
    left, order, differing = list(range(len(saved))), [], []
    for index, (vocabulary, embedding) in enumerate(zip(vocabularies, embeddings, strict=True)):
        same = [other for other in left if known[other] == (vocabulary.digest, embedding)]
        if same:
            order.append(index if index in same else same[0])
            left.remove(order[-1])
        else:
            differing.append(f"{_differing(saved, vocabulary.digest, embedding)} of {vocabulary.name}")
    if differing:
        raise UserError(f"{folder} was not made with {', '.join(differing)}; {AGAIN}")
    return order


def _differing(saved: list[MemberFacts], tokenizer: str, embedding: str) -> str:
    """The parts of a model that no saved one has: tokenizer, embeddings or both."""
    parts = []
    if tokenizer not in {member.tokenizer for member in saved}:
        parts.append("the tokenizer")
    if embedding not in {member.embedding for member in saved}:
        parts.append("the embedding matrix")
    return " and ".join(parts) or "the tokenizer and the embedding matrix together"


def _checked_keys(
    folder: Path, facts: dict[str, Any], ids: torch.Tensor, vocabularies: Sequence[Vocabulary]
) -> tuple[Key, ...]:
    """The keys of the anchors, which every vocabulary must agree on."""
    rules = {vocabulary.rule for vocabulary in vocabularies}
    if rules != {facts["keys"]}:
        raise UserError(
            f"{folder} has anchors by the rule {facts['keys']!r}, given {', '.join(sorted(rules))}; ask for that rule, "
            f"or {AGAIN}"
        )
    known = [vocabulary.keys for vocabulary in vocabularies]
    lists = [tuple(own[token] for token in row) for own, row in zip(known, ids.tolist(), strict=True)]
    keys = tuple(key for key in lists[0] if key is not None)
    if len(keys) != len(lists[0]) or any(other != keys for other in lists) or keys_digest(keys) != facts["anchors"]:
        raise UserError(f"{folder} has a list of anchors that these tokenizers do not agree on; {AGAIN}")
    return keys
