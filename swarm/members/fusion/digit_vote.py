"""A token chooser that votes on digits before fusing: the published program's way for sums (arXiv 2404.12715)."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from swarm.members.fusion.token_choosers import TokenChoice, TokenChooser
from swarm.members.fusion.vocabulary import TEXT, Vocabulary


class DigitVote:
    """A chooser around another one that takes digits by the majority of the members' own choices."""

    def __init__(self, chooser: TokenChooser, vocabularies: Sequence[Vocabulary]):
        """`vocabularies` are the members', by the rule "bytes"."""
        self._chooser, self._vocabularies = chooser, vocabularies

    def __call__(self, logits: Sequence[Tensor | None], weights: Tensor) -> TokenChoice:
        """See `Chooser`. Of numbers with equally many votes the first member's counts, the main model being first."""
        main = logits[0]
        assert main is not None
        tops = [None if own is None else own.argmax(-1).tolist() for own in logits]
        voted = [self._voted([None if own is None else own[row] for own in tops]) for row in range(len(main))]
        left = [row for row, token in enumerate(voted) if token is None]
        if not left:
            return TokenChoice(torch.tensor(voted, device=main.device))
        chosen = self._chooser(
            [None if own is None else own[left] for own in logits], weights.expand(len(main), -1)[left]
        )
        for row, token in zip(left, chosen.tokens.tolist(), strict=True):
            voted[row] = token
        return TokenChoice(torch.tensor(voted, device=main.device), chosen.dropped)

    def scores(self, logits: Sequence[Tensor | None], weights: Tensor, asked: Tensor) -> Tensor:
        """See `Chooser`: those of the other chooser."""
        return self._chooser.scores(logits, weights, asked)

    def _voted(self, tokens: Sequence[int | None]) -> int | None:
        """The main model's token for the digits of the majority; None where the majority writes no digits."""
        texts = [None if token is None else self._text(member, token) for member, token in enumerate(tokens)]
        if texts[0] is None or not texts[0].strip().isdigit():
            return None
        votes = Counter(text.strip() for text in texts if text is not None)
        winner = votes.most_common(1)[0][0]  # of equals the first that was counted
        if not winner.isdigit():
            return None
        return tokens[0] if winner == texts[0].strip() else self._written(winner, texts[0])

    def _text(self, member: int, token: int) -> bytes | None:
        vocabulary = self._vocabularies[member]
        return vocabulary.content(token) if token < len(vocabulary) else None

    def _written(self, digits: bytes, like: bytes) -> int | None:
        """The main model's token for digits, with a blank before them if that of its own choice has one.

        Where it has none for all of them, that of the first digits.
        """
        ids = self._vocabularies[0].ids
        blank = like[: len(like) - len(like.lstrip())]
        for length in range(len(digits), 0, -1):
            for before in (blank, b"", b" "):
                token = ids.get((TEXT, before + digits[:length]))
                if token is not None:
                    return token
        return None
