"""Metrics without a model, each against values worked out by hand or by the library's own plain function."""

import builtins
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import UserError
from swarm.metrics.cosine import EmbeddingCosine
from swarm.metrics.table import METRICS, PRESETS, get_metric, get_preset

PAIRS = [
    ("The cat sat on the mat.", "The cat sat on a mat."),
    ("the dogs were running", "a dog runs"),
    ("Yes.", "Yes."),
    ("", "something"),
    ("nothing in common", "other words here"),
]
ANSWERS, REFERENCES = map(list, zip(*PAIRS, strict=True))
PLAIN = ["bleu", "chrf", "rouge1", "rouge2", "rougeL", "rougeLsum", "cosine", "exact"]


def test_bleu_is_sacrebleus_sentence_function():
    from sacrebleu import sentence_bleu

    metric = get_metric("bleu")
    wanted = [sentence_bleu(answer, [reference]).score for answer, reference in PAIRS]
    assert metric.score(ANSWERS, REFERENCES) == pytest.approx(wanted)
    assert metric.score(["Yes."], ["Yes."]) == pytest.approx([100.0]) and 20 < wanted[0] < 80
    assert "smooth:exp" in metric.settings()["signature"] and "eff:yes" in metric.settings()["signature"]


def test_chrf_is_sacrebleus_sentence_function():
    from sacrebleu import sentence_chrf

    metric = get_metric("chrf")
    wanted = [sentence_chrf(answer, [reference]).score for answer, reference in PAIRS]
    assert metric.score(ANSWERS, REFERENCES) == pytest.approx(wanted)
    assert metric.score(["Yes."], ["Yes."]) == pytest.approx([100.0])
    assert "nc:6" in metric.settings()["signature"]


def test_rouge_by_hand():
    one = [get_metric(name).score(["the cat sat"], ["the cat ran off"])[0] for name in ("rouge1", "rouge2", "rougeL")]
    # 2 of 3 and 2 of 4 words; 1 of 2 and 1 of 3 pairs; the same subsequence as words
    assert one == pytest.approx([4 / 7, 2 / 5, 4 / 7])
    assert get_metric("rouge1").score(["dogs running"], ["dog runs"]) == pytest.approx([1.0])
    assert get_metric("rouge1", stemmer=False).score(["dogs running"], ["dog runs"]) == [0.0]
    # as whole texts one word in order, line by line both
    swapped = (["b b b\na a a"], ["a a a\nb b b"])
    assert get_metric("rougeL").score(*swapped) == pytest.approx([0.5])
    assert get_metric("rougeLsum").score(*swapped) == pytest.approx([1.0])


def test_tfidf_cosine_by_hand():
    metric = get_metric("cosine", corpus=["red cat", "red dog"])
    rare, common = math.log(3 / 2) + 1, 1.0
    both = math.hypot(rare, common)
    wanted = [common * common / both**2, 1.0, 0.0, common / both]
    assert metric.score(["red cat", "Red DOG!", "blue", "red"], ["red dog"] * 4) == pytest.approx(wanted)
    # a word that no text has weighs most, so that padding an answer with such words costs it
    [padded] = metric.score(["red dog zebra"], ["red dog"])
    assert padded == pytest.approx(both / math.hypot(both, math.log(3) + 1))


def test_tfidf_cosine_keeps_the_frequencies_of_its_first_references():
    metric = get_metric("cosine")
    assert metric.settings()["corpus"] is None
    first = metric.score(ANSWERS, REFERENCES)
    settings = metric.settings()
    assert metric.score(ANSWERS[:1], ["another reference"]) and metric.settings() == settings
    assert metric.score(ANSWERS, REFERENCES) == first
    assert get_metric("cosine", corpus=REFERENCES).score(ANSWERS, REFERENCES) == first


@pytest.mark.parametrize("name", PLAIN)
def test_a_pair_scores_as_it_does_alone(name):
    options = {"corpus": REFERENCES} if name == "cosine" else {}
    metric = get_metric(name, **options)
    together = metric.score(ANSWERS, REFERENCES)
    assert together == [metric.score([a], [b])[0] for a, b in PAIRS]
    assert max(together) > 0 and together[3] == pytest.approx(0)
    with pytest.raises(UserError, match=rf"metric {name}: 1 answers and 2 references"):
        metric.score(["a"], ["a", "b"])


@given(st.lists(st.text(max_size=12), min_size=1, max_size=4), st.text(max_size=12))
def test_cosine_of_any_texts_is_in_range(answers, reference):
    scores = get_metric("cosine").score(answers, [reference] * len(answers))
    assert all(0 <= score <= 1 + 1e-12 for score in scores)


def test_cosine_of_embeddings():
    table = {"a": [1.0, 0.0], "b": [1.0, 1.0], "c": [-2.0, 0.0], "": [0.0, 0.0]}
    asked = []

    def embed(texts):
        asked.append(list(texts))
        return np.array([table[text] for text in texts])

    metric = EmbeddingCosine(embed, {"model": "table"})
    assert metric.score(["a", "b", "c", ""], ["a"] * 4) == pytest.approx([1, 0.5**0.5, -1, 0])
    assert asked == [["a", "b", "c", ""]] and metric.settings()["model"] == "table"
    with pytest.raises(UserError, match=r"shape \(2,\) for 1 texts"):
        EmbeddingCosine(lambda texts: np.zeros(2), {}).score(["a"], ["a"])


def test_exact_and_choice_read_answers_as_the_evals_do():
    assert get_metric("exact").score(["The answer is 42.", "41", "yes and no"], ["42", "42", "no"]) == [1, 0, 0]
    metric = get_metric("choice")
    assert metric.score(["The answer is B.", "B or C", "C"], ["B", "B", "B"]) == [1, 0, 0]
    assert metric.score(["green it is"], ["B"], [{"A": "red", "B": "green"}]) == [1]
    with pytest.raises(UserError, match="reference 0 is 'F', wanted one of A, B, C, D, E"):
        metric.score(["F"], ["F"])
    assert get_metric("choice", letters=["E", "F"]).score(["F"], ["F"]) == [1]


def test_names_and_options_that_are_not_there():
    with pytest.raises(UserError, match="no metric 'bleurt'; give one of bleu, chrf"):
        get_metric("bleurt")
    for name in METRICS:
        with pytest.raises(UserError, match=rf"metric {name}.* has no option 'colour'"):
            get_metric(name, colour="red")
    with pytest.raises(UserError, match="has no option 'corpus'"):
        get_metric("cosine", model="x", corpus=[])
    with pytest.raises(UserError, match="no preset 'paper' of metrics; give one of mixinstruct-paper"):
        get_preset("paper", "bleu")
    with pytest.raises(UserError, match="preset mixinstruct-paper has no metric 'bleurt'"):
        get_preset("mixinstruct-paper", "bleurt")
    assert get_preset("mixinstruct-paper", "rougeL").settings()["stemmer"] is True
    assert set(PRESETS["mixinstruct-paper"]) <= set(METRICS)


@pytest.mark.parametrize(
    ("name", "library", "extra", "options"),
    [
        ("bleu", "sacrebleu", "routing", {}),
        ("chrf", "sacrebleu", "routing", {}),
        ("rougeL", "rouge_score", "routing", {}),
        ("cosine", "sentence_transformers", "embeddings", {"sentence_model": "x"}),
    ],
)
def test_a_missing_library_names_the_extra(name, library, extra, options, monkeypatch):
    real = builtins.__import__

    def without(wanted, *args, **kwargs):
        if wanted.partition(".")[0] == library:
            raise ImportError(f"no {library}")
        return real(wanted, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=rf'metric {name} needs .*pip install -e "\.\[{extra}\]"'):
        get_metric(name, **options)
