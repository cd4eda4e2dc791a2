"""Fine-tuned encoders and sentence-transformers models, on tiny real ones."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from routed_prompts import NAMES, routed_prompts
from tiny_encoders import make_encoder

from swarm.errors import UserError
from swarm.members.routing.encoder import EncoderSettings
from swarm.members.routing.fit import RouterSettings, fit_router
from swarm.members.routing.knn import KnnSettings
from swarm.members.routing.router_artefact import load_router, save_router
from swarm.members.routing.sentence_embeddings import SentenceSettings


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def settings(encoder):
    return EncoderSettings(model=str(encoder), epochs=8, batch_size=8, learning_rate=5e-3)


def test_an_encoder_learns_repeats_and_comes_back_from_disk(settings, tmp_path):
    prompts, scores, _ = routed_prompts(60, noise=0)
    before = torch.random.get_rng_state()
    plan = RouterSettings(classifier=settings, folds=2)
    routers = [fit_router(prompts, scores, NAMES, plan, np.random.default_rng(0)) for _ in range(2)]
    assert (torch.random.get_rng_state() == before).all(), "nobody else's draws are changed"
    tests, _, sorts = routed_prompts(40, seed=1)
    picks = [choice.member for choice in routers[0].choose(tests)]
    assert np.mean(np.array(picks) == sorts) > 0.9
    assert (routers[0].probabilities(tests) == routers[1].probabilities(tests)).all()
    save_router(tmp_path / "router", routers[0])
    assert load_router(tmp_path / "router").probabilities(tests) == pytest.approx(routers[0].probabilities(tests))
    assert not list((tmp_path / "router").rglob("*.bin")) + list((tmp_path / "router").rglob("*.pkl"))


def test_what_is_beyond_an_encoders_window_is_cut_at_the_start_and_told(settings, caplog):
    classifier = replace(settings, epochs=1).fit(
        ["spell the word", "what is"], np.eye(2), np.ones(2), np.random.default_rng(0)
    )
    assert classifier.window == 24
    long = "colour " * 30 + "spell the word"
    with caplog.at_level(logging.WARNING, logger="swarm"):
        found = classifier.scores([long, "what is"])
    assert "1 of 2 prompts are longer than the 24 tokens" in caplog.text
    assert found[0] == pytest.approx(classifier.scores(["colour " * 19 + "spell the word"])[0], abs=1e-6)


@pytest.fixture(scope="module")
def sentences(encoder, tmp_path_factory):
    transformers = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer import modules

    folder = tmp_path_factory.mktemp("sentences") / "model"
    parts = modules.Transformer(str(encoder)), modules.Pooling(16)
    transformers.SentenceTransformer(modules=list(parts), device="cpu").save(str(folder))
    return folder


def test_a_router_on_sentence_embeddings(sentences, tmp_path, caplog):
    prompts, scores, _ = routed_prompts(60, noise=0)
    features = SentenceSettings(model=str(sentences))
    plan = RouterSettings(features=features, classifier=KnnSettings((5,)))
    router = fit_router(prompts, scores, NAMES, plan, np.random.default_rng(0))
    tests, _, sorts = routed_prompts(40, seed=1)
    assert np.mean([choice.member == sort for choice, sort in zip(router.choose(tests), sorts, strict=True)]) > 0.9
    save_router(tmp_path / "router", router)
    assert (load_router(tmp_path / "router").probabilities(tests) == router.probabilities(tests)).all()
    with caplog.at_level(logging.WARNING, logger="swarm"):
        router.choose(["colour " * 40])
    assert "1 of 1 prompts are longer than the 24 tokens" in caplog.text
    (sentences / "modules.json").write_text((sentences / "modules.json").read_text() + "\n")
    with pytest.raises(UserError, match="is not the model that the router was fitted with"):
        load_router(tmp_path / "router")


@pytest.mark.parametrize("settings", [SentenceSettings(model="no/such"), EncoderSettings(model="no/such")])
def test_a_model_that_is_not_to_be_had(settings):
    prompts, scores, _ = routed_prompts(20)
    plan = RouterSettings(**{"features" if isinstance(settings, SentenceSettings) else "classifier": settings})
    with pytest.raises(UserError, match="'no/such' cannot be loaded .*name another folder or hub id"):
        fit_router(prompts, scores, NAMES, plan, np.random.default_rng(0))
