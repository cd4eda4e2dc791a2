"""Models with different vocabularies write one text together, token by token (arXiv 2404.12715)."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from swarm.errors import UserError
from swarm.fusion.choosers import Chooser
from swarm.fusion.settings import FusionSettings
from swarm.fusion.text import GrowingText, LegacyText
from swarm.fusion.voices import Choir, Listener, Prompt, Voice

log = logging.getLogger(__name__)

FAILURES = (UserError, torch.OutOfMemoryError)  # of one member, which the others can do without


@dataclass(frozen=True)
class Written:
    """What was written for a prompt.

    Attributes:
      row: which prompt, counted from 0.
      text: without special tokens and without the stop text.
      ids: the main model's tokens, its end token included.
    """

    row: int
    text: str
    ids: tuple[int, ...]


@dataclass
class FusionCount:
    """What fused decoding has done so far.

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
    """Greedy decoding of batches of prompts; the first voice is the main one, whose vocabulary is written in.

    Attributes:
      count: what was done so far, in all batches.
    """

    def __init__(self, voices: Sequence[Voice], chooser: Chooser, settings: FusionSettings):
        self.voices, self.settings = voices, settings
        self.count = FusionCount()
        self._chooser = chooser

    def decode(
        self, prompts: Sequence[Sequence[Prompt]], max_new_tokens: int, weights: torch.Tensor
    ) -> Iterator[Written]:
        """Every prompt's text once, as they end; `prompts[k][b]` is prompt b for voice k, `weights` are (B, N)."""
        batch = _Batch(self, self._chooser, prompts, max_new_tokens, weights)
        try:
            while batch.active:
                yield from batch.step()
        finally:
            batch.close()


class _Batch:
    """One batch on its way."""

    def __init__(
        self,
        decoding: FusedDecoding,
        chooser: Chooser,
        prompts: Sequence[Sequence[Prompt]],
        max_new_tokens: int,
        weights: torch.Tensor,
    ):
        self._voices, self._settings, self._count = decoding.voices, decoding.settings, decoding.count
        self._chooser, self._most, self._weights = chooser, max_new_tokens, weights
        self._choir = Choir(self._voices)
        self._listeners: list[list[Listener]] = self._choir.open(prompts, max_new_tokens)
        rows = range(len(prompts[0]))
        tokenizer = self._voices[0].tokenizer
        self._texts = [GrowingText(tokenizer, self._choir.tokens(0, row)) for row in rows]
        # what the assistants are told instead, if anything
        self._told = [LegacyText(tokenizer) for _ in rows] if self._settings.bridge == "legacy" else []
        self._ids: list[list[int]] = [[] for _ in rows]
        # assistants that have not failed, for each row: what one row is too much for does the others no harm
        self._present = [set(range(1, len(self._voices))) for _ in rows]
        self.active = list(rows)

    def step(self) -> list[Written]:
        """One more token for every active row; those that have ended."""
        rows = self.active
        main = self._choir.logits(0, rows)
        tokens = main.argmax(-1)
        places = self._unsure(rows, main, tokens)
        places = [place for place in places if self._present[rows[place]]]
        if places:
            index = torch.tensor(places, device=main.device)
            tokens[index] = self._chosen([rows[place] for place in places], main[index]).to(tokens)
        self._count.tokens += len(rows)
        ended = [self._write(row, token) for row, token in zip(list(rows), tokens.tolist(), strict=True)]
        return [written for written in ended if written is not None]

    def _unsure(self, rows: Sequence[int], main: torch.Tensor, tokens: torch.Tensor) -> list[int]:
        """Places in `rows` where the main model does not choose alone."""
        alone = torch.zeros(len(rows), dtype=torch.bool)
        if self._settings.gate <= 1:
            alone |= (main.softmax(-1).amax(-1) >= self._settings.gate).cpu()
        if self._settings.eos == "main":
            alone |= torch.tensor([token in self._voices[0].ends for token in tokens.tolist()])
        if not self._told:
            # in the middle of a character the others do not know yet what has been written
            alone |= torch.tensor([self._texts[row].pending for row in rows])
        return [place for place, sure in enumerate(alone.tolist()) if not sure]

    def _chosen(self, rows: list[int], main: torch.Tensor) -> torch.Tensor:
        """What all models choose together, (len(rows),)."""
        found = [self._logits(index, rows) for index in range(1, len(self._voices))]
        tokens = main.argmax(-1)
        together: dict[tuple[int, ...], list[int]] = {}
        for place, row in enumerate(rows):
            together.setdefault(tuple(sorted(self._present[row])), []).append(place)
        for present, places in together.items():
            some = [rows[place] for place in places]
            logits: list[torch.Tensor | None] = [_of_rows(some, rows, main)]
            for index, own in enumerate(found, 1):
                logits.append(_of_rows(some, *own) if index in present else None)
            choice = self._chooser(logits, self._weights[some])
            tokens[places] = choice.tokens.to(tokens)
            self._count.fused += len(places) * choice.fused
            self._count.dropped = max(self._count.dropped, choice.dropped)
        return tokens

    def _logits(self, index: int, rows: Sequence[int]) -> tuple[list[int], torch.Tensor]:
        """The rows that an assistant can do, and its logits (rows, V); it is left out of those at which it fails."""
        rows = [row for row in rows if index in self._present[row]]
        nothing = torch.empty(0, 0)
        try:
            return rows, self._choir.logits(index, rows) if rows else nothing
        except FAILURES as error:
            if len(rows) == 1 or isinstance(error, torch.OutOfMemoryError) or self._settings.on_failure == "fail":
                self._leave_out(index, error, rows)
                return [], nothing
        # which of them it is
        singly = [logits for row in rows for there, logits in [self._logits(index, [row])] if there]
        return [row for row in rows if index in self._present[row]], torch.cat(singly) if singly else nothing

    def _hear(self, row: int, new: str) -> None:
        """The assistants are told what has been written."""
        for index in sorted(self._present[row]):
            try:
                self._listeners[index][row].hear(new)
            except FAILURES as error:
                self._leave_out(index, error, [row])

    def _leave_out(self, index: int, error: Exception, rows: Sequence[int]) -> None:
        """Goes on without a member that has failed at rows, if the settings have it so; else raises its error."""
        name, reason = self._voices[index].name, " ".join(str(error).split())
        if self._settings.on_failure == "fail":
            if isinstance(error, torch.OutOfMemoryError):
                raise error  # fewer rows may fit
            raise UserError(
                f"member {name} of a fusion has failed: {reason}; leave it out, or have fusions go on without a member "
                'that fails ("on_failure": "drop")'
            ) from error
        if name not in self._count.left_out:
            log.warning("member %s of a fusion has failed and is left out: %s", name, reason)
        self._count.left_out[name] = reason
        for row in rows:
            self._present[row].discard(index)

    def _write(self, row: int, token: int) -> Written | None:
        """Takes a row's next token; what was written if that ends it."""
        ids, text = self._ids[row], self._texts[row]
        ids.append(token)
        if token in self._voices[0].ends:
            return self._end(row)
        new = text.append(token)
        if len(ids) == self._most or self._stop_in(text.text, new):
            return self._end(row)
        self._choir.append(row, token)
        told = self._told[row].append(token) if self._told else new
        if told:
            self._hear(row, told)
        return None

    def _stop_in(self, text: str, new: str) -> bool:
        """Whether a stop text ends in the new part."""
        return any(stop in text[-(len(new) + len(stop)) :] for stop in self._settings.stop)

    def _end(self, row: int) -> Written:
        text = self._texts[row]
        text.finish()
        self.active = [other for other in self.active if other != row]
        for index in range(len(self._voices)):
            self._choir.drop(index, row)
        found = [place for stop in self._settings.stop if (place := text.text.find(stop)) >= 0]
        return Written(row, text.text[: min(found)] if found else text.text, tuple(self._ids[row]))

    def close(self) -> None:
        """Gives the memory back."""
        self._choir.close()


def _of_rows(some: list[int], rows: list[int], logits: torch.Tensor) -> torch.Tensor:
    """The logits of some of the rows."""
    return logits if some == rows else logits[[rows.index(row) for row in some]]
