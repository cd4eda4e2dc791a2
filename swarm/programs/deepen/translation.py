"""Translations scored by sacrebleu: BLEU and chrF, of sentences and of all of them together."""

from collections.abc import Mapping, Sequence
from typing import Any

from swarm.errors import UserError

EXTRA = 'pip install "h-swarm[routing]"'
Record = Mapping[str, Any]


def sentence_bleu(record: Record) -> float:
    """BLEU of one translation, with effective order, 0 to 1. Raises UserError without sacrebleu."""
    return _share(_metrics().BLEU(effective_order=True).sentence_score(*_pair(record)).score)


def sentence_chrf(record: Record) -> float:
    """chrF of one translation, 0 to 1. Raises UserError without sacrebleu."""
    return _share(_metrics().CHRF().sentence_score(*_pair(record)).score)


def corpus_scores(records: Sequence[Record]) -> dict[str, float]:
    """BLEU and chrF over all translations, 0 to 100, by as many references as every record has."""
    predictions, golds = zip(*map(_pair, records), strict=True)
    fewest = min(map(len, golds))
    references = [[own[place] for own in golds] for place in range(fewest)]
    metrics = _metrics()
    return {
        "bleu": float(metrics.BLEU().corpus_score(list(predictions), references).score),
        "chrf": float(metrics.CHRF().corpus_score(list(predictions), references).score),
    }


def _share(score: float) -> float:
    return min(float(score) / 100, 1.0)  # rounding may have carried it past


def _pair(record: Record) -> tuple[str, list[str]]:
    answer = record["answer"]
    return str(record["prediction"]).strip(), [answer] if isinstance(answer, str) else list(answer)


def _metrics() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError as error:
        raise UserError(f"translations are scored by sacrebleu, which is missing: {EXTRA}") from error
    return metrics
