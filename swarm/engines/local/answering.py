"""One call of the engine: requests are divided into sittings, and those that come meanwhile join or wait."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from swarm.engines.base import Completion, Finished, GenerationParams, More, Request
from swarm.engines.local.answer_texts import AnswerTexts
from swarm.engines.local.decoder import Decoder, Decoding
from swarm.engines.local.long_rows import LongRowsAlone
from swarm.engines.local.plain_generate import Answers, PlainGenerate
from swarm.engines.local.sampled_tokens import samplers_of
from swarm.engines.local.shared_prefixes import Tokens
from swarm.engines.local.side_by_side import SideBySide, Sitting
from swarm.engines.local.token_budget import is_out_of_memory
from swarm.weights.pool import Expert


class Speaker(Protocol):
    """What an engine has for answering: a model that speaks as one expert or as several."""

    decoder: Decoder | PlainGenerate | LongRowsAlone
    texts: AnswerTexts
    side_by_side: SideBySide | None
    loaded: str
    exchange_seconds: float

    def prompt_tokens(self, requests: Sequence[Request], params: GenerationParams) -> list[Tokens]:
        """The tokens of prompts that have these parameters."""
        ...

    def seated(self, sitting: Sitting) -> AbstractContextManager[None]:
        """The model speaks as the sitting's expert meanwhile, or each row as its own."""
        ...

    def halve(self, longest: int) -> None:
        """Halves what is held at a time."""
        ...


class Answering:
    """Answers requests with an engine's model, experts side by side where that is faster, else one after the other.

    Requests are numbered in the order in which they come.
    """

    def __init__(self, engine: Speaker, more: More | None):
        self._engine, self._more = engine, more
        self._requests: list[Request] = []
        self._tokens: list[Tokens] = []
        self._waiting: dict[GenerationParams, dict[str, list[int]]] = {}  # by the digest of who is asked

    def take(self, requests: Sequence[Request]) -> None:
        """Further requests. Raises UserError for a prompt that the model cannot read."""
        start = len(self._requests)
        self._requests += requests
        self._tokens += [[] for _ in requests]
        by_params: dict[GenerationParams, list[int]] = {}
        for index, request in enumerate(requests, start):
            by_params.setdefault(request.params, []).append(index)
        for params, indices in by_params.items():
            read = self._engine.prompt_tokens([self._requests[index] for index in indices], params)
            of_params = self._waiting.setdefault(params, {})
            for index, tokens in zip(indices, read, strict=True):
                self._tokens[index] = tokens
                of_params.setdefault(self._expert(index).digest, []).append(index)

    def answers(self) -> Iterator[Finished]:
        """The completions of all requests, in batches."""
        while self._waiting:
            params = next(iter(self._waiting))
            sitting = self._next_sitting(params)
            with self._engine.seated(sitting):
                for answers in self._decode(sitting, params):
                    yield self._completions(answers, params)
            self._take_more()

    def _completions(self, answers: Answers, params: GenerationParams) -> list[tuple[int, Completion]]:
        return list(self._engine.texts.completions(self._tokens, answers, params))

    def _take_more(self) -> None:
        if self._more is not None and (new := self._more()):
            self.take(new)

    def _next_sitting(self, params: GenerationParams) -> Sitting:
        loaded, beside = self._engine.loaded, self._engine.side_by_side
        # the expert that is loaded already goes first, so that each is loaded once
        groups = sorted(self._waiting[params].items(), key=lambda group: group[0] != loaded)
        by_expert = [(self._expert(indices[0]), indices) for _, indices in groups]
        sitting = Sitting(by_expert[0][1], by_expert[0][0])
        if beside is not None and len(by_expert) > 1:
            most, exchange = params.max_new_tokens, self._engine.exchange_seconds
            sitting = beside.sitting(by_expert, self._tokens, most, exchange) or sitting
        self._seat(sitting.indices, params)
        return sitting

    def _seat(self, indices: Sequence[int], params: GenerationParams) -> None:
        """Requests, all of their experts', that wait no longer."""
        waiting = self._waiting[params]
        for digest in {self._expert(index).digest for index in indices}:
            del waiting[digest]
        if not waiting:
            del self._waiting[params]

    def _joining(self, sitting: Sitting, params: GenerationParams, decoding: Decoding) -> list[int]:
        """Requests that have come meanwhile and can be decoded in this sitting, too."""
        self._take_more()
        joining: list[int] = []
        for indices in list(self._waiting.get(params, {}).values()):
            there = self._may_join(self._expert(indices[0]), sitting)
            if there and decoding.has_room(max(len(self._tokens[index]) for index in indices)):
                joining += indices
                self._seat(indices, params)
        return joining

    def _may_join(self, expert: Expert, sitting: Sitting) -> bool:
        if sitting.expert is not None:
            return expert.digest == sitting.expert.digest
        assert self._engine.side_by_side is not None
        return self._engine.side_by_side.rows.may_join(expert)

    def _decode(self, sitting: Sitting, params: GenerationParams) -> Iterator[Answers]:
        """The answers to a sitting's rows; where memory runs out, the rest anew with half as many rows at a time."""
        left = list(sitting.indices)
        while left:
            try:
                for answers in self._decode_once(sitting, params, left):
                    done = {index for index, _ in answers}
                    left[:] = [index for index in left if index not in done]
                    yield answers
            except RuntimeError as error:  # torch.OutOfMemoryError is one, and the processor's allocator has no own
                if not is_out_of_memory(error):
                    raise
                self._engine.halve(max(len(self._tokens[index]) for index in left))

    def _decode_once(self, sitting: Sitting, params: GenerationParams, left: list[int]) -> Iterator[Answers]:
        """The answers to rows, and to those that join them, which are added to `left`."""
        decoder, most = self._engine.decoder, params.max_new_tokens
        rows = list(left)  # of the decoder: their numbers here
        if not isinstance(decoder, Decoder):
            samplers = samplers_of([self._requests[index] for index in rows])
            for answers in decoder.decode([self._tokens[index] for index in rows], most, samplers):
                yield [(rows[row], answer) for row, answer in answers]
            return
        decoding = Decoding(decoder, most, self._engine.texts.is_over(params), more=self._more is not None)
        self._add(decoding, sitting, rows)
        for answers in decoding.answers():
            if self._engine.side_by_side is not None:
                self._engine.side_by_side.pace.note_answers([len(answer) for _, answer in answers], most)
            yield [(rows[row], answer) for row, answer in answers]
            if self._more is not None and (joining := self._joining(sitting, params, decoding)):
                rows += joining
                left += joining
                self._add(decoding, sitting, joining)

    def _add(self, decoding: Decoding, sitting: Sitting, indices: Sequence[int]) -> None:
        requests = [self._requests[index] for index in indices]
        adapters = None
        if sitting.expert is None:
            assert self._engine.side_by_side is not None
            adapters = self._engine.side_by_side.rows.numbers([self._expert(index) for index in indices])
        decoding.add([self._tokens[index] for index in indices], samplers_of(requests), adapters)

    def _expert(self, index: int) -> Expert:
        member = self._requests[index].member
        if not isinstance(member, Expert):
            raise TypeError(f"this engine answers for experts, not for {type(member).__name__} {member.name}")
        return member
