"""Greedy decoding by several models with different vocabularies, token by token (arXiv 2404.12715)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from swarm.members.fusion.failure_policy import FAILURES, FailurePolicy
from swarm.members.fusion.fusion_models import Ensemble, FollowingRow, FusionModel, Prompt
from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.members.fusion.growing_text import GrowingText, LegacyText
from swarm.members.fusion.perplexity import prompt_weights
from swarm.members.fusion.token_choosers import TokenChooser


@dataclass(frozen=True)
class Written:
    """The text generated for a prompt.

    Attributes:
      row: which prompt, counted from 0.
      text: without special tokens and without the stop text.
      ids: the main model's tokens, its end token included.
      cut: whether it stopped for want of tokens.
    """

    row: int
    text: str
    ids: tuple[int, ...]
    cut: bool


@dataclass
class FusionCount:
    """Counts of what fused decoding has done so far.

    Attributes:
      tokens: tokens written.
      fused: of which several models chose together.
      dropped: the most probability of a member that was left out of account at a step.
      left_out: members that failed and were left out, with the reason.
    """

    tokens: int = 0
    fused: int = 0
    dropped: float = 0.0
    left_out: dict[str, str] = field(default_factory=dict)


class FusedDecoding:
    """Greedy decoding of batches of prompts; the first model is the main one, whose vocabulary is written in.

    Attributes:
      chooser: what chooses the tokens.
      count: what was done so far, in all batches.
      on_step: called after every token of a batch.
    """

    def __init__(self, fusion_models: Sequence[FusionModel], chooser: TokenChooser, settings: FusionSettings):
        self.fusion_models, self.settings = fusion_models, settings
        self.count = FusionCount()
        self.chooser = chooser
        self.on_step: Callable[[], object] = lambda: None

    def decode(
        self, prompts: Sequence[Sequence[Prompt]], max_new_tokens: int, weights: torch.Tensor | None = None
    ) -> Iterator[Written]:
        """The generated texts, one per prompt, as they end; `prompts[k][b]` is prompt b for model k.

        `weights` are (B, N); without them what the settings say. A member that fails, at the reading of a prompt as
        well as later, ends all with its error or is left out, as the settings have it.
        """
        policy = self.policy(len(prompts[0]))
        if weights is None:
            weights = prompt_weights(policy, prompts, self.settings)
        try:
            following = policy.open(prompts, max_new_tokens)
            batch = _FusedBatch(self, policy, following, max_new_tokens, weights)
            while batch.active:
                ended = batch.step()
                self.on_step()
                yield from ended
        finally:
            policy.ensemble.close()

    def policy(self, size: int) -> FailurePolicy:
        """The failure policy of a batch of so many texts, in which no model has failed yet."""
        return FailurePolicy(Ensemble(self.fusion_models), size, self.settings.on_failure, self.count.left_out)


class _FusedBatch:
    """A batch that is being decoded."""

    def __init__(
        self,
        decoding: FusedDecoding,
        policy: FailurePolicy,
        following: Mapping[tuple[int, int], FollowingRow],
        max_new_tokens: int,
        weights: torch.Tensor,
    ):
        self._fusion_models, self._settings, self._count = decoding.fusion_models, decoding.settings, decoding.count
        self._chooser, self._most, self._weights = decoding.chooser, max_new_tokens, weights
        self._policy, self._ensemble, self._following = policy, policy.ensemble, following
        rows = range(len(policy.present))
        tokenizer = self._fusion_models[0].tokenizer
        self._texts = [GrowingText(tokenizer, self._ensemble.tokens(0, row)) for row in rows]
        # the text that the assistants are given instead, if any
        self._legacy = [LegacyText(tokenizer) for _ in rows] if self._settings.bridge == "legacy" else []
        self._ids: list[list[int]] = [[] for _ in rows]
        self.active = list(rows)

    def step(self) -> list[Written]:
        """Decodes one token for every active row; returns the texts that have ended."""
        rows = self.active
        main = self._ensemble.logits(0, rows)
        tokens = main.argmax(-1)
        indices = self._unsure(rows, main, tokens)
        indices = [i for i in indices if self._policy.present[rows[i]]]
        if indices:
            index = torch.tensor(indices, device=main.device)
            tokens[index] = self._chosen([rows[i] for i in indices], main[index]).to(tokens)
        self._count.tokens += len(rows)
        ended = [self._write(row, token) for row, token in zip(list(rows), tokens.tolist(), strict=True)]
        return [written for written in ended if written is not None]

    def _unsure(self, rows: Sequence[int], main: torch.Tensor, tokens: torch.Tensor) -> list[int]:
        """Indices into `rows` at which the main model does not choose alone."""
        alone = torch.zeros(len(rows), dtype=torch.bool)
        if self._settings.gate <= 1:
            alone |= (main.softmax(-1).amax(-1) >= self._settings.gate).cpu()
        if self._settings.eos == "main":
            alone |= torch.tensor([token in self._fusion_models[0].ends for token in tokens.tolist()])
        if not self._legacy:
            # in the middle of a character the others do not know yet what has been written
            alone |= torch.tensor([self._texts[row].pending for row in rows])
        return [i for i, sure in enumerate(alone.tolist()) if not sure]

    def _chosen(self, rows: list[int], main: torch.Tensor) -> torch.Tensor:
        """The tokens that all models choose together, (len(rows),)."""
        tokens = main.argmax(-1)
        for indices, logits in self._policy.together(rows, main):
            choice = self._chooser(logits, self._weights[[rows[i] for i in indices]])
            tokens[indices] = choice.tokens.to(tokens)
            self._count.fused += len(indices) * choice.fused
            self._count.dropped = max(self._count.dropped, choice.dropped)
        return tokens

    def _follow(self, row: int, new: str) -> None:
        """Extends the assistants' rows by what has been written."""
        for index in self._policy.members(row)[1:]:
            try:
                self._following[index, row].extend(new)
            except FAILURES as error:
                self._policy.leave_out(index, error, [row])

    def _write(self, row: int, token: int) -> Written | None:
        """Appends a row's next token; returns its text if that ends it."""
        ids, text = self._ids[row], self._texts[row]
        ids.append(token)
        if token in self._fusion_models[0].ends:
            return self._end(row)
        new = text.append(token)
        if self._stop_in(text.text, new):
            return self._end(row)
        if len(ids) == self._most:
            return self._end(row, cut=True)
        self._ensemble.append(row, token)
        shown = self._legacy[row].append(token) if self._legacy else new
        if shown:
            self._follow(row, shown)
        return None

    def _stop_in(self, text: str, new: str) -> bool:
        """Whether a stop text ends in the new part."""
        return any(stop in text[-(len(new) + len(stop)) :] for stop in self._settings.stop)

    def _end(self, row: int, cut: bool = False) -> Written:
        text = self._texts[row]
        text.finish()
        self.active = [other for other in self.active if other != row]
        for index in range(len(self._fusion_models)):
            self._ensemble.drop(index, row)
        found = [start for stop in self._settings.stop if (start := text.text.find(stop)) >= 0]
        return Written(row, text.text[: min(found)] if found else text.text, tuple(self._ids[row]), cut)
