"""An engine wrapper for fusions, whose models decode together on the inner engine's device."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from swarm.engines.base import Completion, Finished, GenerationParams, Request
from swarm.engines.local.chat_template import check_not_empty, rendered, template_names
from swarm.engines.local.generation_settings import stopped
from swarm.engines.local.token_budget import is_out_of_memory
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.engines.wrapper import EngineWrapper
from swarm.errors import UserError
from swarm.members.fusion.build import make_chooser
from swarm.members.fusion.fused_decoding import FusedDecoding, FusionCount, Written
from swarm.members.fusion.fused_member import FusionMember
from swarm.members.fusion.fusion_models import FusionModel, Prompt
from swarm.members.fusion.model_placement import ModelPlacement
from swarm.members.fusion.token_choosers import TokenChooser

log = logging.getLogger(__name__)

MOST_ROWS = 64  # prompts that are written for side by side


class FusionEngine(EngineWrapper[InProcessEngine]):
    """An engine wrapper that decodes fusions; experts' requests go to the in-process engine inside.

    Attributes:
      inner: the experts' engine, whose resident model and memory are shared.
      counts: what fused decoding has done, by the fusion's name.
    """

    own = FusionMember

    def __init__(self, inner: InProcessEngine, fusions: Sequence[FusionMember], trust_remote_code: bool = False):
        """Loads the other models of the fusions and sees whether all can work together.

        Raises UserError for a model that cannot be had, or vocabularies that have nothing in common.
        """
        super().__init__(inner)
        self.counts: dict[str, FusionCount] = {}
        self._placement = ModelPlacement(inner, trust_remote_code)
        self._choosers: dict[tuple[str, ...], TokenChooser] = {}
        self._warned: set[str] = set()
        for fusion in fusions:
            self._chooser(fusion, self._placement.fusion_models(fusion))

    def _answer(self, requests: Sequence[Request]) -> Iterator[Finished]:
        member = requests[0].member
        assert isinstance(member, FusionMember)
        if requests[0].params.sampling is not None:
            raise UserError(
                f"fusion {member.name} takes the likeliest token each time: leave --sampling out, or give it to votes "
                "in their node.json"
            )
        yield from self._write(member, requests, requests[0].params)

    def _write(self, member: FusionMember, requests: Sequence[Request], params: GenerationParams) -> Iterator[Finished]:
        """A fusion's completions, a batch at a time; where memory runs out, with half as many rows."""
        fusion_models = self._placement.fusion_models(member)
        decoding = FusedDecoding(fusion_models, self._chooser(member, fusion_models), member.settings)
        decoding.count = self.counts.setdefault(member.name, decoding.count)
        read = [_prompts(each, requests, params, each is fusion_models[0]) for each in fusion_models]
        lengths = [
            [len(fusion_model.ids(prompt)) for prompt in own]
            for fusion_model, own in zip(fusion_models, read, strict=True)
        ]
        for fusion_model, own in zip(fusion_models, lengths, strict=True):
            check_not_empty(fusion_model.name, own)
        tokens = [sum(own) for own in zip(*lengths, strict=True)]
        left = sorted(range(len(requests)), key=lambda index: -tokens[index])
        most = MOST_ROWS
        while left:
            room = len(fusion_models) * params.max_new_tokens
            size = max(min(most, self.inner.token_budget // (tokens[left[0]] + room)), 1)
            batch = left[:size]
            try:
                some = [[own[index] for index in batch] for own in read]
                written = list(decoding.decode(some, params.max_new_tokens))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                most = self._halved(member, size)
                continue
            left = left[size:]
            self._warn_of_dropped(member)
            models, stops = len(fusion_models), params.stop_strings
            yield [(batch[one.row], _completion(one, tokens[batch[one.row]], models, stops)) for one in written]

    def _warn_of_dropped(self, member: FusionMember) -> None:
        """Warns once if candidates were too few for the bound that is set."""
        step, dropped = member.settings.step, self.counts[member.name].dropped
        if dropped > step.dropped and member.name not in self._warned:
            self._warned.add(member.name)
            log.warning(
                "fusion %s: tokens with %.3f of a model's probability were left out at a step, %d being the most that "
                "are looked at, wanted %.3f at most: raise most, or dropped",
                member.name, dropped, step.most, step.dropped,
            )  # fmt: skip

    def _halved(self, member: FusionMember, size: int) -> int:
        if size == 1:
            raise UserError(
                f"fusion {member.name}: one prompt does not fit into the memory of {self.inner.device} beside its "
                "models: take fewer members, a device with more memory or shorter prompts"
            )
        self.inner.halvings += 1
        if self.inner.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning("fusion %s: out of memory; it now writes for %d prompts at a time", member.name, size // 2)
        return size // 2

    def _chooser(self, member: FusionMember, fusion_models: Sequence[FusionModel]) -> TokenChooser:
        """The token chooser of these models, remade only where a vocabulary or embeddings have changed."""
        key = (member.name, *(self._placement.embeddings_of(each) for each in member.members))
        if key not in self._choosers:
            # those of the same fusion with experts that have moved on are not needed any more
            self._choosers = {known: chooser for known, chooser in self._choosers.items() if known[0] != member.name}
            self._choosers[key] = make_chooser(fusion_models, member.settings)
        return self._choosers[key]


def _prompts(
    fusion_model: FusionModel, requests: Sequence[Request], params: GenerationParams, main: bool
) -> list[Prompt]:
    """The rendered prompts of a model; of arguments of the chat template only the main one has to know all."""
    found = []
    if not main and params.chat_template_kwargs:
        names = template_names(fusion_model.tokenizer) if fusion_model.tokenizer.chat_template else frozenset()
        params = replace(
            params, chat_template_kwargs=tuple(one for one in params.chat_template_kwargs if one[0] in names)
        )
    for request in requests:
        [text], special = rendered(fusion_model.tokenizer, [request.prompt], params, request.history)
        found.append(Prompt(text, special))
    return found


def _completion(written: Written, read: int, fusion_models: int, stops: tuple[str, ...]) -> Completion:
    """The completion of a text up to a stop string of the user's, with the tokens of every model that took part."""
    text = stopped(written.text, stops)
    return Completion(text, read, fusion_models * len(written.ids), written.cut and not text.endswith(stops))
