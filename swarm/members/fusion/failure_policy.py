"""What a fusion does about a model that fails: the batch ends with its error, or goes on without it."""

import logging
from collections.abc import Sequence

import torch

from swarm.engines.local.token_budget import is_out_of_memory
from swarm.errors import UserError
from swarm.members.fusion.fusion_models import Ensemble, FollowingRow, Prompt

log = logging.getLogger(__name__)

# of one member, which the others can do without: what torch raises in a forward pass, and what a member cannot read
FAILURES = (UserError, RuntimeError, IndexError)


class FailurePolicy:
    """The models that take part in each text of a batch, by `on_failure`; the first, the main one, always does.

    A member that has failed at a text is left out of it from there on: it is never asked again, so that nothing it
    said before counts for a later token.

    Attributes:
      ensemble: the members' rows.
      fusion_models: the members.
      present: for each text the assistants that have not failed at it.
    """

    def __init__(self, ensemble: Ensemble, size: int, policy: str, left_out: dict[str, str]):
        """For `size` texts; `policy` is fail or drop; the reason why a member fails is put under its name."""
        self.ensemble, self.fusion_models = ensemble, ensemble.fusion_models
        # by text: what one of them is too much for does the others no harm
        self.present = [set(range(1, len(ensemble.fusion_models))) for _ in range(size)]
        self._drops, self._left_out = policy == "drop", left_out

    def members(self, row: int) -> tuple[int, ...]:
        """Indices of the models that take part in a text, the main one's included."""
        return (0, *sorted(self.present[row]))

    def open(self, prompts: Sequence[Sequence[Prompt]], room: int) -> dict[tuple[int, int], FollowingRow]:
        """Begins a batch; `prompts[k][b]` is prompt b for model k. Returns the assistants' rows, by (k, b)."""
        following: dict[tuple[int, int], FollowingRow] = {}
        for group in self.ensemble.groups():
            pairs = [(index, row) for index in group for row in range(len(prompts[0])) if self._takes_part(index, row)]
            try:
                following |= self.ensemble.open(pairs, prompts, room)
            except FAILURES as error:
                if self._fewer_may_fit(error):
                    raise
                following |= self.ensemble.open(self._without_failures(pairs, prompts, room), prompts, room)
        return following

    def _without_failures(
        self, pairs: Sequence[tuple[int, int]], prompts: Sequence[Sequence[Prompt]], room: int
    ) -> list[tuple[int, int]]:
        """The (model, row) pairs whose prompts can be read, each of which is tried by itself."""
        found = []
        for pair in pairs:
            try:
                self.ensemble.open([pair], prompts, room)
                self.ensemble.logits(pair[0], [pair[1]])
                found.append(pair)
            except FAILURES as error:
                self.leave_out(pair[0], error, [pair[1]])
        return found

    def logits(self, index: int, rows: Sequence[int]) -> tuple[list[int], torch.Tensor]:
        """The rows that an assistant can do, and its logits (rows, V); it is left out of those at which it fails."""
        rows = [row for row in rows if self._takes_part(index, row)]
        nothing = torch.empty(0, 0)
        try:
            return rows, self.ensemble.logits(index, rows) if rows else nothing
        except FAILURES as error:
            if len(rows) == 1 or not self._drops:
                self.leave_out(index, error, rows)
                return [], nothing
        # which of them it is
        singly = [logits for row in rows for there, logits in [self.logits(index, [row])] if there]
        return [row for row in rows if self._takes_part(index, row)], torch.cat(singly) if singly else nothing

    def together(self, rows: list[int], main: torch.Tensor) -> list[tuple[list[int], list[torch.Tensor | None]]]:
        """Indices into `rows` with the same models taking part, and those models' logits; None for one that does not.

        `main` (len(rows), V) are the main member's.
        """
        found = [(rows, main), *(self.logits(index, rows) for index in range(1, len(self.fusion_models)))]
        alike: dict[tuple[int, ...], list[int]] = {}
        for index, row in enumerate(rows):
            alike.setdefault(self.members(row), []).append(index)
        return [
            (indices, [_of_rows([rows[i] for i in indices], *own) if model in members else None
                       for model, own in enumerate(found)])
            for members, indices in alike.items()
        ]  # fmt: skip

    def leave_out(self, index: int, error: Exception, rows: Sequence[int]) -> None:
        """Goes on without a member that has failed at rows, if the policy has it so; else raises its error.

        Raises it in any case for the main member, and where memory has run out that fewer texts may fit into.
        """
        name, reason = self.fusion_models[index].name, " ".join(str(error).split())
        if index == 0 or self._fewer_may_fit(error):
            raise error
        if not self._drops:
            if not isinstance(error, UserError):
                error.add_note(f"member {name} of a fusion has failed")
                raise error
            raise UserError(
                f"member {name} of a fusion has failed: {reason}; leave it out, or have fusions go on without a member "
                'that fails ("on_failure": "drop")'
            ) from error
        if name not in self._left_out:
            log.warning("member %s of a fusion has failed and is left out: %s", name, reason)
        self._left_out[name] = reason
        for row in rows:
            self.present[row].discard(index)

    def _fewer_may_fit(self, error: Exception) -> bool:
        return is_out_of_memory(error) and len(self.present) > 1

    def _takes_part(self, index: int, row: int) -> bool:
        return index == 0 or index in self.present[row]


def _of_rows(some: list[int], rows: list[int], logits: torch.Tensor) -> torch.Tensor:
    """The logits of some of the rows."""
    return logits if some == rows else logits[[rows.index(row) for row in some]]
