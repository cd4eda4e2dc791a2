"""Token choosers: the main model's next token from all members' logits, by the settings' `space`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from swarm.maths.member_weights import consistency_weights
from swarm.maths.token_union import mapped, top_union, union_mean
from swarm.members.fusion.fused_step import FusedStep, shares_of
from swarm.members.fusion.unions import NONE, Encode, union_ids, union_keys
from swarm.members.fusion.vocabulary import Key, Vocabulary


@dataclass(frozen=True)
class TokenChoice:
    """The next tokens of the main model.

    Attributes:
      tokens: (B,).
      dropped: the most probability of a member that was left out of account.
      fused: whether anybody but the main model was asked.
    """

    tokens: Tensor
    dropped: float = 0.0
    fused: bool = True


class TokenChooser(Protocol):
    """The interface of token choosers; the main model is the first member."""

    def __call__(self, logits: Sequence[Tensor | None], weights: Tensor) -> TokenChoice:
        """The choice for logits (B, V_k) of every member, None for one that is left out, and weights (B, N) or (N,)."""
        ...

    def scores(self, logits: Sequence[Tensor | None], weights: Tensor, asked: Tensor) -> Tensor:
        """(B, F): how good each of the main model's tokens `asked` (B, F) is; higher is better, -inf impossible."""
        ...


class MainAlone:
    """A chooser by the main model alone."""

    def __call__(self, logits: Sequence[Tensor | None], weights: Tensor) -> TokenChoice:
        """See `Chooser`."""
        assert logits[0] is not None
        return TokenChoice(logits[0].argmax(-1), fused=False)

    def scores(self, logits: Sequence[Tensor | None], weights: Tensor, asked: Tensor) -> Tensor:
        """See `Chooser`: its logits."""
        assert logits[0] is not None
        return logits[0].gather(1, asked.to(logits[0].device))


class RelativeChooser:
    """A chooser by relative representations: DeePEn (arXiv 2404.12715)."""

    def __init__(self, step: FusedStep):
        self.step = step

    def __call__(self, logits: Sequence[Tensor | None], weights: Tensor) -> TokenChoice:
        """See `Chooser`."""
        result = self.step(logits, weights)
        if result.report.bypass:
            return TokenChoice(result.tokens, fused=False)
        # of a member that took no part nothing is known
        return TokenChoice(result.tokens, float(result.report.dropped.nan_to_num(0.0).max()))

    def scores(self, logits: Sequence[Tensor | None], weights: Tensor, asked: Tensor) -> Tensor:
        """See `Chooser`: fused logits."""
        result = self.step(logits, weights, asked)
        same = result.candidates[:, None] == asked.to(result.candidates.device)[..., None]
        return result.logits[:, None].where(same, -torch.inf).amax(-1)


class UnionChooser:
    """A chooser on the union of every member's top tokens: UniTE (arXiv 2410.03777)."""

    def __init__(
        self,
        vocabularies: Sequence[Vocabulary],
        top: int,
        consistency: str = "",
        encoders: Sequence[Encode | None] | None = None,
    ):
        """`consistency` weighs members by their agreement at each token (CoRE, arXiv 2510.13855), "" does not.

        `encoders` tell how each member writes tokens that it does not have (see `union_ids`).
        """
        self._vocabularies, self._top, self._consistency = vocabularies, top, consistency
        self._encoders = encoders or [None] * len(vocabularies)
        self._known: list[dict[Key, int]] = [{} for _ in vocabularies]

    def __call__(self, logits: Sequence[Tensor | None], weights: Tensor) -> TokenChoice:
        """See `Chooser`."""
        main = logits[0]
        assert main is not None
        present = [index for index, own in enumerate(logits) if own is not None]
        weights = shares_of(weights, present, main)
        chosen = [
            self._of_row([logits[index][row] for index in present], present, weights[row])  # type: ignore[index]
            for row in range(len(main))
        ]
        return TokenChoice(torch.tensor(chosen))

    def scores(self, logits: Sequence[Tensor | None], weights: Tensor, asked: Tensor) -> Tensor:
        """See `Chooser`: shares of the union of the tokens asked about."""
        present = [index for index, own in enumerate(logits) if own is not None]
        assert logits[0] is not None
        weights = shares_of(weights, present, logits[0])
        found = torch.full(asked.shape, -torch.inf)
        for row, tokens in enumerate(asked.tolist()):
            keys = [self._vocabularies[0].keys[token] for token in tokens]
            union = list(dict.fromkeys(key for key in keys if key is not None))
            own = [logits[index][row] for index in present]  # type: ignore[index]
            mean = self._mean(own, [self._ids(index, union) for index in present], weights[row]).tolist()
            found[row] = torch.tensor([mean[union.index(key)] if key in union else -torch.inf for key in keys])
        return found

    def _of_row(self, logits: list[Tensor], present: list[int], weights: Tensor) -> int:
        tops = [own.topk(min(self._top, len(own))).indices.tolist() for own in logits]
        keys = [self._vocabularies[index].keys for index in present]
        named = [[own[token] for token in top if token < len(own)] for own, top in zip(keys, tops, strict=True)]
        union = union_keys([key for key in own if key is not None] for own in named)
        ids = [self._ids(index, union) for index in present]
        # what the main model cannot write is no choice
        union = [key for key, own in zip(union, ids[0], strict=True) if own != NONE]
        ids = [self._ids(index, union) for index in present]
        if not union:
            return int(logits[0].argmax())
        return ids[0][int(self._mean(logits, ids, weights).argmax())]

    def _mean(self, logits: list[Tensor], ids: list[list[int]], weights: Tensor) -> Tensor:
        """(U,): what the members give to the tokens of a union, of which `ids` are each member's."""
        shares = torch.stack(
            [
                top_union(own, torch.tensor(index, device=own.device)).cpu()
                for own, index in zip(logits, ids, strict=True)
            ]
        )
        weights = consistency_weights(shares, self._consistency) if self._consistency else weights.cpu()
        return union_mean(shares, weights)

    def _ids(self, index: int, union: Sequence[Key]) -> list[int]:
        known = self._known[index]
        missing = [key for key in union if key not in known]
        found = union_ids(missing, self._vocabularies[index], self._encoders[index])
        known |= zip(missing, found, strict=True)
        return [known[key] for key in union]


class MappedChooser:
    """A chooser by the mean on the main model's vocabulary, tokens mapped to their nearest strings: MinED."""

    def __init__(self, maps: Sequence[Tensor]):
        """`maps` (V_k,) for every member but the first: the main model's token for each of its own, -1 for none."""
        self._maps = maps

    def __call__(self, logits: Sequence[Tensor | None], weights: Tensor) -> TokenChoice:
        """See `Chooser`."""
        return TokenChoice(self._mean(logits, weights).argmax(-1))

    def scores(self, logits: Sequence[Tensor | None], weights: Tensor, asked: Tensor) -> Tensor:
        """See `Chooser`: shares of the mean."""
        mean = self._mean(logits, weights)
        return mean.gather(1, asked.to(mean.device))

    def _mean(self, logits: Sequence[Tensor | None], weights: Tensor) -> Tensor:
        main = logits[0]
        assert main is not None
        size = main.shape[1]
        present = [index for index, own in enumerate(logits) if own is not None]
        weights = shares_of(weights, present, main)
        total = weights[:, :1] * main.softmax(-1)
        for column, index in enumerate(present[1:], 1):
            own, token_map = logits[index], self._maps[index - 1]
            assert own is not None
            shares = own.softmax(-1)[:, : len(token_map)].to(main.device)
            total += weights[:, column : column + 1] * mapped(shares, token_map.to(main.device), size)
        return total
