"""Overlap metrics: BLEU, chrF and ROUGE."""

from collections.abc import Sequence
from typing import Any

from swarm.metrics.metric import check_lengths, needs, version_of

ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class SentenceBleu:
    """Sentence BLEU from 0 to 100 as sacrebleu computes it (Post 2018): exponential smoothing, effective order.

    These are the defaults of `sacrebleu.sentence_bleu`, by which MixInstruct's stored BLEU was made.
    """

    name = "bleu"
    lowest, highest = 0.0, 100.0

    def __init__(self) -> None:
        """Raises UserError without sacrebleu."""
        try:
            from sacrebleu.metrics import BLEU  # type: ignore[attr-defined, import-not-found]
        except ImportError as error:
            raise needs(self.name, "sacrebleu", "routing", error) from error
        self._bleu = BLEU(effective_order=True)

    def settings(self) -> dict[str, Any]:
        """sacrebleu's own signature; see `Metric`."""
        return _signature(self._bleu)

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """See `Metric`."""
        check_lengths(self.name, candidates, references)
        return _sentence_scores(self._bleu, candidates, references)


class Chrf:
    """chrF2 from 0 to 100 as sacrebleu computes it per sentence: F of character n-grams up to 6 (Popović 2015)."""

    name = "chrf"
    lowest, highest = 0.0, 100.0

    def __init__(self) -> None:
        """Raises UserError without sacrebleu."""
        try:
            from sacrebleu.metrics import CHRF  # type: ignore[attr-defined, import-not-found]
        except ImportError as error:
            raise needs(self.name, "sacrebleu", "routing", error) from error
        self._chrf = CHRF()

    def settings(self) -> dict[str, Any]:
        """sacrebleu's own signature; see `Metric`."""
        return _signature(self._chrf)

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """See `Metric`."""
        check_lengths(self.name, candidates, references)
        return _sentence_scores(self._chrf, candidates, references)


class Rouge:
    """A ROUGE F-measure from 0 to 1 as rouge_score computes it (Lin 2004), with Porter's stemmer by default.

    rougeLsum takes the lines of a text as its sentences. MixInstruct's stored rougeLsum was made with a trained
    sentence splitter, which would have to be downloaded: it differs there where an answer has several sentences on
    one line. The other three do not look at sentences.
    """

    lowest, highest = 0.0, 1.0

    def __init__(self, name: str, stemmer: bool = True):
        """`name` is one of ROUGES. Raises UserError without rouge_score."""
        self.name = name
        self._stemmer = stemmer
        try:
            from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped, import-not-found]
        except ImportError as error:
            raise needs(name, "rouge-score", "routing", error) from error
        self._scorer = RougeScorer([name], use_stemmer=stemmer)

    def settings(self) -> dict[str, Any]:
        """See `Metric`."""
        settings = {"library": "rouge-score", "version": version_of("rouge-score"), "stemmer": self._stemmer}
        return settings | ({"sentences": "lines"} if self.name == "rougeLsum" else {})

    def score(self, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
        """See `Metric`."""
        check_lengths(self.name, candidates, references)
        pairs = zip(candidates, references, strict=True)
        return [float(self._scorer.score(reference, own)[self.name].fmeasure) for own, reference in pairs]


def _sentence_scores(metric: Any, candidates: Sequence[str], references: Sequence[str]) -> list[float]:
    return [
        float(metric.sentence_score(own, [reference]).score)
        for own, reference in zip(candidates, references, strict=True)
    ]


def _signature(metric: Any) -> dict[str, Any]:
    metric.sentence_score("", [""])  # a signature says how many references there were, so there has to be a score
    return {"library": "sacrebleu", "version": version_of("sacrebleu"), "signature": str(metric.get_signature())}
