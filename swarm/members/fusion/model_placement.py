"""Model placement of fusions: experts as a LoRA batch on the resident base, others in memory of their own."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

from swarm.engines.local.device_map import spread_stepper
from swarm.engines.local.lora_batch import RowAdapters, why_not_batched
from swarm.engines.local.plain_generate import end_tokens
from swarm.engines.local.stepper import Stepper, make_stepper
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.members.fusion.fused_member import FusionMember, OtherModel
from swarm.members.fusion.fusion_models import FusionModel
from swarm.members.fusion.loading import LoadedModel, ModelSource, load_stepped_model
from swarm.weights.adapters import LoraWeights
from swarm.weights.pool import Expert

log = logging.getLogger(__name__)


class ModelPlacement:
    """The models of fusions with their steppers. Models that are no experts are loaded once and stay.

    Experts that are plain LoRA adapters share the resident base, as a LoRA batch. Experts
    that cannot (full models, DoRA, adapted embeddings) get a copy of the model, in memory of its own, while they are
    asked.
    """

    def __init__(self, inner: InProcessEngine, trust_remote_code: bool):
        self._inner = inner
        self._trust = trust_remote_code
        self._others: dict[str, LoadedModel] = {}  # by digest
        self._copies: dict[str, LoadedModel] = {}  # by digest, of experts that need a model of their own
        self._beside: tuple[str, ...] = ()
        self._resident: Stepper | None = None

    def fusion_models(self, fusion: FusionMember) -> list[FusionModel]:
        """The fusion's models, ready to be stepped; the resident model is the bare base then."""
        digests = [expert.digest for expert in fusion.experts]
        there = {*self._beside, *self._copies}
        if not there.issuperset(digests):
            self._move_in(fusion.experts)
        self._inner.decoder.release()
        if not set(self._beside).isdisjoint(digests):
            self._inner.clear()
        return [self._fusion_model(member) for member in fusion.members]

    def embeddings_of(self, member: Any) -> str:
        """A key of a member's vocabulary and embeddings: equal for experts that share the base's."""
        if isinstance(member, Expert) and member.digest not in self._copies:
            return "base"
        return str(member.digest)

    def _move_in(self, experts: Sequence[Expert]) -> None:
        """Loads these experts and releases those before."""
        model = self._inner.decoder.model
        weights = {expert.digest: self._weights(expert) for expert in experts}
        beside = {
            digest: own
            for digest, own in weights.items()
            if isinstance(own, LoraWeights) and why_not_batched(model, own) is None
        }
        self._make_copies([expert for expert in experts if expert.digest not in beside])
        if self._resident is not None:
            self._resident.close()
        self._resident, self._beside = None, tuple(beside)
        if beside:
            self._inner.clear()
            self._resident = self._stepper(model, RowAdapters(model, list(beside.values())))

    def _weights(self, expert: Expert) -> Any:
        weights = self._inner.weights(expert)
        if not isinstance(weights, LoraWeights):
            return weights
        # the store's tensors hold only until it is asked for the next expert
        return LoraWeights({name: tensor.clone() for name, tensor in weights.tensors.items()}, weights.config)

    def _make_copies(self, experts: Sequence[Expert]) -> None:
        wanted = {expert.digest for expert in experts}
        self._copies = {digest: kept for digest, kept in self._copies.items() if digest in wanted}
        for expert in experts:
            if expert.digest not in self._copies:
                self._inner.load(expert)
                model = copy.deepcopy(self._inner.decoder.model)
                self._copies[expert.digest] = LoadedModel(model, self._inner.tokenizer, self._stepper(model))

    def _stepper(self, model: Any, adapters: RowAdapters | None = None) -> Stepper:
        """The stepper of the resident model, or of a copy, which lies where that does."""
        return (spread_stepper if self._inner.divided else make_stepper)(model, adapters)

    def _fusion_model(self, member: Any) -> FusionModel:
        if isinstance(member, OtherModel):
            return _fusion_model_of(member.name, self._loaded(member), -1)
        if member.digest in self._copies:
            return _fusion_model_of(member.name, self._copies[member.digest], -1)
        assert self._resident is not None
        loaded = LoadedModel(self._inner.decoder.model, self._inner.tokenizer, self._resident)
        return _fusion_model_of(member.name, loaded, self._beside.index(member.digest))

    def _loaded(self, member: OtherModel) -> LoadedModel:
        if member.digest not in self._others:
            self._others[member.digest] = self._load(member)
        return self._others[member.digest]

    def _load(self, member: OtherModel) -> LoadedModel:
        """The loaded model. Raises UserError if it cannot be had."""
        source = ModelSource(member.model, member.revision, self._trust, language=member.language)
        return load_stepped_model(source, self._inner.devices, self._inner.dtype)


def _fusion_model_of(name: str, loaded: LoadedModel, adapter: int) -> FusionModel:
    embeddings = loaded.model.get_input_embeddings().weight.detach()
    ends = end_tokens(loaded.model.generation_config)
    return FusionModel(name, loaded.tokenizer, loaded.stepper, adapter, embeddings, frozenset(ends))
