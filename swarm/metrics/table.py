"""The table of metrics; to add one, write its file and add its row."""

from collections.abc import Callable, Mapping
from typing import Any

from swarm.errors import UserError
from swarm.metrics.metric import Metric, check_options
from swarm.metrics.plugin_metric import PluginMetric
from swarm.plugins import HINT, find_plugin, names_in

_RUN = {"batch": int, "device": str}  # of metrics with a model


def _bleu(options: Mapping[str, Any]) -> Metric:
    from swarm.metrics.overlap import SentenceBleu

    check_options("bleu", options, {})
    return SentenceBleu()


def _chrf(options: Mapping[str, Any]) -> Metric:
    from swarm.metrics.overlap import Chrf

    check_options("chrf", options, {})
    return Chrf()


def _rouge(name: str) -> Callable[[Mapping[str, Any]], Metric]:
    def make(options: Mapping[str, Any]) -> Metric:
        from swarm.metrics.overlap import Rouge

        check_options(name, options, {"stemmer": bool})
        return Rouge(name, **options)

    return make


def _cosine(options: Mapping[str, Any]) -> Metric:
    texts = {"corpus": tuple[str, ...]}
    by_sentence, by_states = {"sentence_model": str, **_RUN}, {"model": str, "layer": int, **_RUN}
    check_options("cosine", options, texts | by_sentence | by_states)
    own = dict(options)
    if "sentence_model" in own:
        from swarm.metrics.embedding import sentence_cosine

        check_options("cosine (sentence_model)", options, by_sentence)
        return sentence_cosine(own.pop("sentence_model"), **own)
    if "model" in own:
        from swarm.metrics.embedding import hidden_state_cosine

        check_options("cosine (model)", options, by_states)
        return hidden_state_cosine(own.pop("model"), **own)
    from swarm.metrics.cosine import TfidfCosine

    check_options("cosine (without a model)", options, texts)
    return TfidfCosine(**own)


def _bertscore(options: Mapping[str, Any]) -> Metric:
    from swarm.metrics.bertscore import BertScore

    check_options("bertscore", options, {"model": str, "layer": int | None, **_RUN})
    return BertScore(**options)


def _bartscore(options: Mapping[str, Any]) -> Metric:
    from swarm.metrics.bartscore import BartScore

    check_options("bartscore", options, {"model": str, "weights": str | None, **_RUN})
    return BartScore(**options)


def _exact(options: Mapping[str, Any]) -> Metric:
    from swarm.metrics.answers import Exact

    check_options("exact", options, {})
    return Exact()


def _choice(options: Mapping[str, Any]) -> Metric:
    from swarm.metrics.answers import ChoiceMetric

    check_options("choice", options, {"letters": tuple[str, ...]})
    return ChoiceMetric(**options)


# Functions rather than classes, so that a metric's file, and what that needs, is imported when it is asked for.
METRICS: dict[str, Callable[[Mapping[str, Any]], Metric]] = {
    "bleu": _bleu,
    "chrf": _chrf,
    "rouge1": _rouge("rouge1"),
    "rouge2": _rouge("rouge2"),
    "rougeL": _rouge("rougeL"),
    "rougeLsum": _rouge("rougeLsum"),
    "cosine": _cosine,
    "bertscore": _bertscore,
    "bartscore": _bartscore,
    "exact": _exact,
    "choice": _choice,
}

MIXINSTRUCT_PAPER: dict[str, dict[str, Any]] = {
    "bertscore": {"model": "bert-base-multilingual-cased", "layer": 9},
    "bartscore": {"model": "facebook/bart-large-cnn"},
    "bleu": {},
    "rouge1": {"stemmer": True},
    "rouge2": {"stemmer": True},
    "rougeL": {"stemmer": True},
    "rougeLsum": {"stemmer": True},
}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {"mixinstruct-paper": MIXINSTRUCT_PAPER}
"""Preset -> metric -> options.

`mixinstruct-paper` is how LLM-Blender (arXiv 2306.02561) scored MixInstruct, as far as its program tells: BERTScore is
F1 with bert-base-multilingual-cased and no baseline rescaling; BARTScore is log P(reference | answer) by
bart-large-cnn, with the ParaBank weights where their file lay beside the program (option `weights`), which the paper
does not say; BLEURT needs TensorFlow and is not had here. Others could not reproduce the printed table, so compare
with stored scores, not with its numbers.
"""


def check_metric(name: str) -> None:
    """Raises UserError if there is no metric of that name, ours or a plugin's; nothing is loaded."""
    if not find_plugin("metrics", name, METRICS) and name not in METRICS:
        raise UserError(f"no metric {name!r}; give one of {', '.join(names_in('metrics', METRICS))}; {HINT}")


def get_metric(name: str, **options: Any) -> Metric:
    """The metric of that name with its options, one of ours or a plugin's; model-based ones load their model.

    Raises UserError if there is no such metric or option, or what it needs cannot be had.
    """
    if plugin := find_plugin("metrics", name, METRICS):
        return PluginMetric(plugin, options)
    check_metric(name)
    return METRICS[name](options)


def get_preset(preset: str, name: str, **options: Any) -> Metric:
    """The metric as a preset has it; `options` are added to the preset's, and replace them where both name one.

    Raises UserError as `get_metric`, or if there is no such preset, or the metric is not in it.
    """
    if preset not in PRESETS:
        raise UserError(f"no preset {preset!r} of metrics; give one of {', '.join(PRESETS)}")
    if name not in PRESETS[preset]:
        raise UserError(f"preset {preset} has no metric {name!r}; give one of {', '.join(PRESETS[preset])}")
    return get_metric(name, **(PRESETS[preset][name] | options))
