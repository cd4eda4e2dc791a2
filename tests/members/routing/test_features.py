"""Prompts become the same numbers alone, in a batch, and after a round trip over the disk."""

import logging
import sys

import numpy as np
import pytest
import torch
from families import ONE_BY_ONE, SIDE_BY_SIDE, model_of
from routed_prompts import NAMES, routed_prompts
from sklearn.feature_extraction.text import TfidfVectorizer
from tiny import make_base
from transformers import AutoModelForCausalLM, AutoTokenizer

from swarm.errors import UserError
from swarm.members.routing.features import feature_settings, read_features
from swarm.members.routing.fit import RouterSettings, fit_router
from swarm.members.routing.hidden_states import HiddenSettings, pooled_states
from swarm.members.routing.interfaces import LanguageModel
from swarm.members.routing.knn import KnnSettings
from swarm.members.routing.logistic import LogisticSettings
from swarm.members.routing.router_artefact import load_router, save_router
from swarm.members.routing.sentence_embeddings import SentenceSettings
from swarm.members.routing.standardise import standard_of
from swarm.members.routing.tfidf import TfidfSettings

PROMPTS = [
    "what is red",
    "what is one two three blue green",
    "yes",
    "no no no no no no no no no no no no two",
    "is one",
]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def reader(request, tmp_path_factory):
    folder = make_base(tmp_path_factory.mktemp("base"), family=request.param)
    return LanguageModel(AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder), "digest")


@pytest.mark.parametrize("options", [{}, {"analyzer": "char_wb", "longest": 3}, {"most": 7}])
def test_tfidf_is_scikit_learns_before_and_after_the_disk(options, tmp_path):
    prompts, _, _ = routed_prompts(60)
    unseen = [*routed_prompts(20, seed=1)[0], "äöü – nothing known", "What is 3+4?"]
    settings = feature_settings("tfidf", options)
    features, encoded = settings.fit(prompts, None)
    own = TfidfVectorizer(
        analyzer=settings.analyzer, ngram_range=(1, settings.longest), max_features=settings.most, sublinear_tf=True,
        token_pattern=r"(?u)\w+|[^\w\s]" if settings.analyzer == "word" else None, dtype=np.float32,
    ).fit(prompts)  # fmt: skip
    wanted = own.transform(unseen).toarray()
    features.write(tmp_path / "part")
    for each in (features, read_features("tfidf", tmp_path / "part")):
        values = each.encode(unseen).values
        assert values.dtype == np.float32 and (values == wanted).all()
    assert (encoded.values == own.transform(prompts).toarray()).all()
    assert "+" in TfidfSettings().fit(["2 + 2"], None)[0].vocabulary, "signs tell tasks apart"


def test_tfidf_refitted_does_not_know_what_was_left_out():
    features, _ = TfidfSettings().fit(["one two", "two three"], None)
    assert set(features.refit(["one two"]).vocabulary) == {"one", "two", "one two"}


def test_states_are_means_over_a_prompts_own_tokens(reader):
    values = pooled_states(HiddenSettings(batch_tokens=40, pooling="mean"), reader, PROMPTS).values
    assert values.dtype == np.float32
    for prompt, row in zip(PROMPTS, values, strict=True):
        ids = torch.tensor([reader.tokenizer(prompt)["input_ids"]])
        with torch.inference_mode():
            states = reader.model(ids, output_hidden_states=True).hidden_states[-1]
        assert row == pytest.approx(states[0].mean(dim=0).numpy(), abs=2e-5)
        assert row == pytest.approx(pooled_states(HiddenSettings(pooling="mean"), reader, [prompt]).values[0], abs=2e-5)


def test_the_last_tokens_state_alone_or_beside_the_mean(reader):
    mean, last, both = (
        pooled_states(HiddenSettings(pooling=pooling), reader, PROMPTS).values for pooling in ("mean", "last", "both")
    )
    assert (both == np.concatenate([mean, last], axis=1)).all()
    one_token = PROMPTS.index("yes")
    assert (mean[one_token] == last[one_token]).all() and (mean[0] != last[0]).any()


@pytest.mark.parametrize("family", [*SIDE_BY_SIDE, *ONE_BY_ONE])
def test_a_row_is_as_alone_in_every_family(reader, family):
    other = LanguageModel(model_of(family), reader.tokenizer, "digest")
    values = pooled_states(HiddenSettings(pooling="mean"), other, PROMPTS).values
    for prompt, row in zip(PROMPTS, values, strict=True):
        ids = torch.tensor([reader.tokenizer(prompt)["input_ids"]])
        with torch.inference_mode():
            states = other.model(ids, output_hidden_states=True).hidden_states[-1]
        assert row == pytest.approx(states[0].mean(dim=0).numpy(), abs=1e-4)


def test_a_model_in_training_is_read_without_dropout_and_left_as_it_was(reader):
    before = pooled_states(HiddenSettings(), reader, PROMPTS).values
    reader.model.train()
    assert (pooled_states(HiddenSettings(), reader, PROMPTS).values == before).all()
    assert reader.model.training
    reader.model.eval()


def test_what_is_beyond_the_window_is_cut_at_the_start_counted_and_told(reader, caplog):
    long = " ".join(["red"] * 600) + " what is two"
    with caplog.at_level(logging.WARNING, logger="swarm"):
        cut = pooled_states(HiddenSettings(window=3), reader, [long, "yes", "one two three blue"])
    assert cut.cut == 2 and "2 of 3 prompts are longer than the 3 tokens" in caplog.text
    ends = pooled_states(HiddenSettings(), reader, ["what is two", "yes", "two three blue"])
    assert cut.values == pytest.approx(ends.values, abs=2e-5) and ends.cut == 0
    assert pooled_states(HiddenSettings(), reader, [long]).cut == 1, "the model's own window"


def test_a_router_on_hidden_states_knows_its_model(reader, tmp_path):
    colours = ["red", "green", "blue"]
    numbers = ["one", "two", "three"]
    prompts = [f"what is {a} {b}" for words in (colours, numbers) for a in words for b in words]
    scores = np.repeat(np.eye(2), 9, axis=0)
    settings = RouterSettings(features=HiddenSettings(), classifier=KnnSettings((3,)))
    router = fit_router(prompts, scores, NAMES[:2], settings, np.random.default_rng(0), language_model=reader)
    assert [choice.member for choice in router.choose(["what is red blue green", "what is one three two"])] == [0, 1]
    save_router(tmp_path / "router", router)
    loaded = load_router(tmp_path / "router", language_model=reader)
    assert (loaded.probabilities(prompts) == router.probabilities(prompts)).all()
    with pytest.raises(UserError, match=r"another model \(digest\) than mine \(other\)"):
        load_router(tmp_path / "router", language_model=LanguageModel(None, None, "other", "mine"))
    with pytest.raises(UserError, match="need the base model"):
        load_router(tmp_path / "router")


def test_a_prompt_without_a_token_is_refused(reader):
    with pytest.raises(UserError, match="empty for the tokenizer of the base model"):
        pooled_states(HiddenSettings(), reader, ["yes", " "])


def test_standardised_features_leave_out_what_never_changes():
    rows = np.random.default_rng(0).normal(3, 2, (50, 4)).astype(np.float32)
    rows[:, 2] = 0.1
    scaled = standard_of(rows)(rows)
    assert scaled.mean(axis=0) == pytest.approx(0, abs=1e-5)
    assert scaled.std(axis=0) == pytest.approx([1, 1, 0, 1], abs=1e-4)


@pytest.mark.parametrize(
    "kind, options, words",
    [
        ("bow", {}, "features is 'bow', wanted one of tfidf, hidden, sentence"),
        ("tfidf", {"longest": 0}, "1 <= shortest <= longest"),
        ("tfidf", {"analyzer": "lines"}, "wanted word or char_wb"),
        ("hidden", {"pooling": "max"}, "wanted one of mean, last, both"),
        ("hidden", {"window": 0}, "wanted each at least 1"),
    ],
)
def test_refused(kind, options, words):
    with pytest.raises(UserError, match=words):
        feature_settings(kind, options)


@pytest.mark.parametrize(
    "module, plan, extra",
    [
        ("sklearn.feature_extraction.text", RouterSettings(), "routing"),
        ("sklearn.linear_model", RouterSettings(classifier=LogisticSettings((1.0,))), "routing"),
        ("sentence_transformers", RouterSettings(features=SentenceSettings()), "embeddings"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(module, plan, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    prompts, scores, _ = routed_prompts(30)
    with pytest.raises(UserError, match=rf'not installed: pip install -e "\.\[{extra}\]"'):
        fit_router(prompts, scores, NAMES, plan, np.random.default_rng(0))
