"""One step of DeePEn: from all models' next-token logits to the main model's next tokens (arXiv 2404.12715)."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from swarm.maths.inverse import adamw, em, flip_bound, freezing_point, mix, total_decay
from swarm.maths.member_weights import consistency_weights
from swarm.maths.targets import target
from swarm.members.fusion.candidates import Candidates, divided, largest, most_probable, with_further
from swarm.members.fusion.rows import RelativeRows
from swarm.members.fusion.step_settings import StepSettings
from swarm.members.fusion.working_set import WorkingSet, WorkingSets

SHARED_KEYS = 10  # anchors on which the members' consistency is judged (arXiv 2510.13855)


@dataclass(frozen=True)
class StepReport:
    """Counts of one step.

    Attributes:
      dropped: (B, N) probability of each member's tokens that were no candidates; nan for a member without logits.
      candidates: (B, N) how many candidates each had, 0 for a member without logits.
      bypass: why the main model chose alone, "" if it did not.
    """

    dropped: Tensor
    candidates: Tensor
    bypass: str = ""


@dataclass(frozen=True)
class StepResult:
    """The next tokens of a step, with its report.

    Attributes:
      tokens: (B,) next ids of the main model.
      candidates: (B, K) ids of the main model that could win; a row's filling repeats one of them.
      logits: (B, K) their fused logits, float32; -inf for filling.
      report: what was dropped.
    """

    tokens: Tensor
    candidates: Tensor
    logits: Tensor
    report: StepReport


class FusedStep:
    """N models that choose the main model's next tokens together; the first of them is the main model.

    Attributes:
      settings: what a step does.
      on_losses: where it is set, is called with the inverse's losses (updates + 1, B) in nat, for parts of a batch.
    """

    def __init__(self, rows: Sequence[RelativeRows], anchors: Tensor, settings: StepSettings | None = None):
        """`rows` are each model's relative representations, `anchors` (N, d) the anchors' ids in each of them."""
        self.settings = settings or StepSettings()
        self.on_losses: Callable[[Tensor], object] | None = None
        self._rows = rows
        self._anchors = [ids.to(own.device) for ids, own in zip(anchors.long(), rows, strict=True)]
        self._working_sets = WorkingSets(rows[0])

    def with_settings(self, settings: StepSettings) -> "FusedStep":
        """The same models and anchors, of which nothing is worked out anew, with other settings."""
        other = copy(self)
        other.settings = settings
        return other

    @torch.inference_mode()
    def __call__(
        self, logits: Sequence[Tensor | None], weights: Tensor | None = None, asked: Tensor | None = None
    ) -> StepResult:
        """The next tokens for B rows, each the same as in a batch of its own.

        `logits` are (B, V_k) of each model, None for one that takes no part: its weight falls to the others. `weights`
        (N,) or (B, N) are not negative and sum to 1 (uniform if None). Tokens `asked` (B, F) of the main model are
        candidates in any case. Raises ValueError if logits are no numbers.
        """
        given = [
            None if own is None else own.to(rows.device).float()[:, : rows.count]
            for own, rows in zip(logits, self._rows, strict=True)
        ]
        if given[0] is None:
            raise ValueError("the first model is the main model, and a step needs its logits")
        members = [index for index, own in enumerate(given) if own is not None]
        asked = None if asked is None else asked.to(given[0].device)
        bypass = self._bypass(members)
        if bypass:
            return self._main_alone(given[0], bypass, asked)
        present = [own for own in given if own is not None]
        shares = shares_of(weights, members, present[0])
        if self.settings.inverse == "none":
            return self._plain_mean(members, present, shares, asked)
        if self.settings.candidates == "all":
            return self._over_all_tokens(members, present, shares)
        return self._over_candidates(members, present, shares, asked)

    def _bypass(self, members: list[int]) -> str:
        settings = self.settings
        if len(members) == 1:
            return "no other model took part"
        if settings.inverse != "none" and settings.updates == 0:
            return "0 updates turn the fusion off"
        if settings.inverse == "adamw" and settings.learning_rate == 0:
            return "learning rate 0 turns the fusion off"
        return ""

    def _main_alone(self, logits: Tensor, bypass: str, asked: Tensor | None) -> StepResult:
        settings = self.settings
        main = _with_asked(most_probable(logits, settings.dropped, settings.least, settings.most), logits, asked)
        report = self._report([0], [main.dropped], [main.counts], bypass)
        return StepResult(logits.argmax(-1), main.ids, main.logits, report)

    def _over_candidates(
        self, members: list[int], logits: list[Tensor], weights: Tensor, asked: Tensor | None
    ) -> StepResult:
        settings = self.settings
        within = self._reach()
        picked = [
            most_probable(own, settings.dropped, settings.least, settings.most, 0.0 if index else within)
            for index, own in enumerate(logits)
        ]
        if asked is not None:
            self._with_counterparts(members, picked, logits, asked)
        device = logits[0].device
        others = torch.stack(
            [
                self._rows[member].project(own.ids, own.probabilities).to(device)
                for member, own in zip(members[1:], picked[1:], strict=True)
            ],
            1,
        )  # (B, N - 1, d)
        main, moving, tail = self._main_candidates(picked, others, weights, logits[0], asked)
        fused = torch.full_like(moving.logits, -torch.inf)
        for part in self._working_sets.parts(moving):
            own, log_rest = moving[part], main.log_rest[part]
            working = self._working_sets.of(own, tail[part], log_rest)
            distributions = torch.cat([mix(working.probabilities, working.rows)[:, None], others[part]], 1)
            width = own.ids.shape[1]
            fused[part, :width] = self._inverted(working, distributions, weights[part])[:, :width]
        everyone = [main, *picked[1:]]
        report = self._report(members, [own.dropped for own in everyone], [own.counts for own in everyone])
        return _chosen(moving.ids, fused, report)

    def _with_counterparts(
        self, members: list[int], picked: list[Candidates], logits: list[Tensor], asked: Tensor
    ) -> None:
        """Adds the counterparts of the main model's candidates to the others', where those are anchors."""
        columns = (self._anchors[0] == asked[..., None]).long().max(-1)
        for index, member in enumerate(members[1:], 1):
            own = self._anchors[member]
            ids, common = own[columns.indices.to(own.device)], columns.values.bool().to(own.device)
            picked[index] = with_further(picked[index], logits[index], ids, common)

    def _reach(self) -> float:
        """The largest distance below the main model's largest logit, in nat, at which a token can win."""
        settings = self.settings
        if settings.inverse != "adamw":
            return 0.0
        learning = settings.learning_rate, settings.updates
        return flip_bound(*learning) / total_decay(*learning)

    def _main_candidates(
        self, picked: list[Candidates], others: Tensor, weights: Tensor, logits: Tensor, asked: Tensor | None
    ) -> tuple[Candidates, Candidates, Candidates]:
        """Main's candidates with its ids of the anchors that the others are most for: all, those that move, the rest.

        There are at most as many such anchors as the member with most candidates has, and none that together weigh
        less than what may be dropped. The rest are so improbable that the published step hardly moves them.
        """
        settings, own = self.settings, picked[0]
        pull = torch.bmm(weights[:, None, 1:], others)[:, 0]  # (B, d)
        counts = torch.stack([one.counts.to(pull.device) for one in picked]).amax(0)[:, None]
        widest = min(max(one.ids.shape[1] for one in picked), pull.shape[1])
        values, columns = largest(pull, widest)
        wanted = (torch.arange(widest, device=pull.device) < counts) & (values > settings.dropped / counts)
        further = self._anchors[0][columns]
        if asked is not None:
            further, all_of_them = torch.cat([further, asked], 1), torch.ones_like(asked)
            wanted = torch.cat([wanted, all_of_them.bool()], 1)
            values = torch.cat([values, torch.inf * all_of_them], 1)
        main = with_further(own, logits, further, wanted)
        if settings.inverse != "adamw":
            return main, main, main.none()
        felt = freezing_point(self._rows[0].width)
        kth = own.logits[:, min(settings.least, own.ids.shape[1]) - 1, None]
        moves = main.logits >= torch.minimum(kth, own.logits[:, :1] - self._reach())
        moves |= main.probabilities >= felt
        moves |= main.counts[:, None] <= 2 * settings.least  # so few that a division would save nothing
        moves |= ((main.ids[..., None] == further[:, None]) & (wanted & (values >= felt))[:, None]).any(-1)
        return main, *divided(main, moves)

    def _over_all_tokens(self, members: list[int], logits: list[Tensor], weights: Tensor) -> StepResult:
        rows = self._rows[0].all()
        distributions = [mix(logits[0].softmax(-1), rows)]
        for member, own in zip(members[1:], logits[1:], strict=True):
            distributions.append(mix(own.softmax(-1), self._rows[member].all()).to(rows.device))
        batch = len(logits[0])
        nothing = logits[0].new_full((batch,), -torch.inf)
        whole = WorkingSet(logits[0], rows, logits[0].logsumexp(-1), nothing)
        fused = self._inverted(whole, torch.stack(distributions, 1), weights)
        counts = [own.new_full((batch,), own.shape[1], dtype=torch.long) for own in logits]
        report = self._report(members, [own.new_zeros(batch) for own in logits], counts)
        return _chosen(torch.arange(fused.shape[1], device=fused.device).expand(batch, -1), fused, report)

    def _plain_mean(
        self, members: list[int], logits: list[Tensor], weights: Tensor, asked: Tensor | None
    ) -> StepResult:
        """The weighted mean on anchors; other tokens keep the main model's share, since the others do not have them."""
        settings, device = self.settings, logits[0].device
        mean = logits[0].softmax(-1) * weights[:, :1]
        dropped = [mean.new_zeros(len(mean))]
        for index, (member, own) in enumerate(zip(members[1:], logits[1:], strict=True), 1):
            common = own.softmax(-1)[:, self._anchors[member]].to(device)
            mean.index_add_(1, self._anchors[0], common * weights[:, index : index + 1])
            dropped.append((1 - common.sum(-1)).clamp_min(0))
        best = most_probable(mean.log(), settings.dropped, settings.least, settings.most)
        best = _with_asked(best, mean.log(), asked)
        counts = [own.new_full((len(mean),), own.shape[1], dtype=torch.long) for own in logits]
        return StepResult(mean.argmax(-1), best.ids, best.logits, self._report(members, dropped, counts))

    def _inverted(self, own: WorkingSet, distributions: Tensor, weights: Tensor) -> Tensor:
        settings = self.settings
        if settings.consistency:
            _, columns = largest(distributions.mean(1), min(SHARED_KEYS, distributions.shape[-1]))
            shared = distributions.gather(-1, columns[:, None].expand(-1, distributions.shape[1], -1))
            shared = shared / shared.sum(-1, keepdim=True).clamp_min(torch.finfo(shared.dtype).tiny)
            weights = consistency_weights(shared, settings.consistency)
        wanted = target(settings.mode, distributions, weights)
        losses: list[Tensor] | None = None if self.on_losses is None else []
        if settings.inverse == "em":
            fused = em(own.logits, own.rows, wanted, settings.updates, own.log_rest, losses)
        else:
            learning = settings.learning_rate, settings.updates
            fused = adamw(own.logits, own.rows, wanted, *learning, own.log_rest, own.frozen, losses)
        if self.on_losses is not None and losses:
            self.on_losses(torch.stack(losses))
        return fused

    def _report(self, members: list[int], dropped: list[Tensor], counts: list[Tensor], bypass: str = "") -> StepReport:
        shape = len(dropped[0]), len(self._rows)
        device = dropped[0].device
        lost = torch.full(shape, torch.nan, device=device)
        used = torch.zeros(shape, dtype=torch.long, device=device)
        for member, share, count in zip(members, dropped, counts, strict=True):
            lost[:, member], used[:, member] = share.to(device), count.to(device)
        return StepReport(lost, used, bypass)


def shares_of(weights: Tensor | None, members: Sequence[int], like: Tensor) -> Tensor:
    """The weights (B, N) of the members that take part, which sum to 1; the same for all if those have none.

    `weights` are all members', (N,) or (B, N), uniform if None; B and the device are those of `like`.
    """
    if weights is None:
        weights = torch.ones(max(members) + 1)
    own = weights.to(like)[..., list(members)].expand(len(like), -1)
    total = own.sum(-1, keepdim=True)
    return torch.where(total > 0, own / total, 1 / len(members))


def _with_asked(candidates: Candidates, logits: Tensor, asked: Tensor | None) -> Candidates:
    return candidates if asked is None else with_further(candidates, logits, asked, torch.ones_like(asked).bool())


def _chosen(ids: Tensor, fused: Tensor, report: StepReport) -> StepResult:
    tokens = ids.gather(1, fused.argmax(-1, keepdim=True))[:, 0]
    return StepResult(tokens, ids, fused, report)
