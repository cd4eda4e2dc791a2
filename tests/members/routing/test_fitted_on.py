"""A router's artefact knows which questions it was fitted on, by digest, and nothing else of them."""

import json

import numpy as np
import pytest
from routed_prompts import NAMES, routed_prompts

from swarm.errors import UserError
from swarm.members.routing.fit import RouterSettings, fit_router
from swarm.members.routing.fitted_on import SeenQuestions, read_seen, seen_questions
from swarm.members.routing.logistic import LogisticSettings
from swarm.members.routing.router_artefact import FACTS, load_router, save_router, seen_by


@pytest.fixture
def saved(tmp_path):
    """A router, fitted on prompts around other texts."""
    prompts, scores, _ = routed_prompts(60)
    settings, rng = RouterSettings(classifier=LogisticSettings((10.0,))), np.random.default_rng(0)
    router = fit_router([f"Question: {text}" for text in prompts], scores, NAMES, settings, rng, questions=prompts)
    save_router(tmp_path / "router", router)
    return tmp_path / "router", prompts


def change(folder, act):
    record = json.loads((folder / FACTS).read_text())
    act(record)
    (folder / FACTS).write_text(json.dumps(record))


def test_it_comes_back_from_disk(saved):
    folder, prompts = saved
    seen = load_router(folder).seen
    assert seen == seen_questions(prompts) and seen.among(prompts) == len(prompts)
    assert seen.among(["what is 1000 + 1000 ?", prompts[3], f"  {prompts[4]}\n"]) == 2, "white space does not matter"
    text = (folder / FACTS).read_text()
    assert not any(prompt in text for prompt in prompts), "digests, no texts"
    assert list(seen.digests) == sorted(set(seen.digests)) and seen.count == len(set(prompts))


def test_prompts_are_the_questions_where_nothing_else_is_said():
    prompts, scores, _ = routed_prompts(60)
    settings = RouterSettings(classifier=LogisticSettings((10.0,)))
    assert fit_router(prompts, scores, NAMES, settings, np.random.default_rng(0)).seen == seen_questions(prompts)


def test_it_decides_nothing_and_earlier_artefacts_load(saved):
    folder, prompts = saved
    digest, choices = load_router(folder).digest, load_router(folder).choose(prompts)
    change(folder, lambda record: record.pop("fitted_on"))
    router = load_router(folder)
    assert router.seen is None and router.digest == digest and router.choose(prompts) == choices
    assert save_router(folder, router).digest == digest and load_router(folder).seen is None


@pytest.mark.parametrize(
    "record", [[], {"count": 2}, {"count": 1, "digests": ["a", "b"]}, {"count": 1, "digests": [1]}, {"digests": ["a"]}]
)
def test_a_record_that_is_none_is_refused(saved, record):
    folder, _ = saved
    change(folder, lambda facts: facts.update(fitted_on=record))
    with pytest.raises(UserError, match=r"router\.json is damaged \(.*fitted.*\); fit the router again"):
        seen_by(folder, json.loads((folder / FACTS).read_text()))


def test_of_very_many_questions_a_part_is_kept_and_the_rest_reckoned(monkeypatch):
    monkeypatch.setattr("swarm.members.routing.fitted_on.MOST", 1000)
    texts = [f"question {i}" for i in range(5000)]
    seen = seen_questions(texts)
    assert seen.count == 5000 and len(seen.digests) == 1000
    assert seen.among(texts) == 5000 and seen.among([f"other {i}" for i in range(5000)]) == 0
    half = [*texts[:1000], *(f"other {i}" for i in range(1000))]
    assert 800 < seen.among(half) < 1200
    assert read_seen(seen.record()) == seen and read_seen(None) is None
    assert SeenQuestions(1, ("0" * 16,)).among([]) == 0
