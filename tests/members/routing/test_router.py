"""A fitted router: it picks, falls back, is saved and read, and refuses what it was not made for."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from routed_prompts import NAMES, routed_prompts

from swarm.errors import UserError
from swarm.members.routing.calibration import NEVER
from swarm.members.routing.fit import RouterSettings, fit_router
from swarm.members.routing.knn import KnnSettings
from swarm.members.routing.learning import learning_curve
from swarm.members.routing.logistic import LogisticSettings
from swarm.members.routing.parts import read_part
from swarm.members.routing.quality import QualitySettings
from swarm.members.routing.router_artefact import FACTS, load_router, read_router_facts, save_router

QUICK = RouterSettings(classifier=LogisticSettings((10.0,)))
SETTINGS = [QUICK, RouterSettings(classifier=KnnSettings((10,)))]
DIGESTS = ("d0", "d1", "d2")


def router_of(settings=QUICK, size=90, seed=0, noise=0.1):
    prompts, scores, _ = routed_prompts(size, noise=noise)
    return fit_router(prompts, scores, NAMES, settings, np.random.default_rng(seed), DIGESTS)


@pytest.fixture(scope="module")
def router():
    return router_of()


@pytest.fixture
def saved(router, tmp_path):
    save_router(tmp_path / "router", router)
    return tmp_path / "router"


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: each.classifier.kind)
def test_picks_the_member_of_the_sort(settings):
    fitted = router_of(settings)
    prompts, _, sorts = routed_prompts(100, seed=1)
    choices = fitted.choose(prompts)
    assert np.mean([choice.member == sort for choice, sort in zip(choices, sorts, strict=True)]) > 0.95
    assert all(1 / 3 <= choice.confidence <= 1 for choice in choices)
    assert fitted.facts["value"] > fitted.facts["value_of_best_single"] + 0.2
    assert [fitted.choose([prompt])[0] for prompt in prompts] == choices and fitted.choose([]) == []


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: each.classifier.kind)
def test_the_same_seed_gives_the_same_bits_on_disk(settings, tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    digests = {save_router(folder, router_of(settings)).digest for folder in folders}
    files = [{path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")} for folder in folders]
    assert files[0] == files[1] and len(digests) == 1


def test_comes_back_from_disk_to_the_bit(router, saved):
    prompts, _, _ = routed_prompts(50, seed=2)
    prompts.append("words that nobody has seen, ünseen")
    loaded = load_router(saved, dict(zip(NAMES, DIGESTS, strict=True)))
    assert (loaded.probabilities(prompts) == router.probabilities(prompts)).all()
    assert loaded.choose(prompts) == router.choose(prompts)
    assert loaded.digest == read_router_facts(saved)["digest"] and len(loaded.digest) == 64
    assert save_router(saved, loaded).digest == loaded.digest, "a router may replace a router"


def test_falls_back_to_the_best_single_member_where_nothing_can_be_learnt():
    prompts = [f"prompt {word}" for word in np.random.default_rng(0).permutation(200)]
    scores = np.random.default_rng(1).uniform(size=(200, 3)) + np.array([0, 0.35, 0])
    fitted = fit_router(prompts, scores, NAMES, QUICK, np.random.default_rng(0))
    assert fitted.fallback == 1 and fitted.facts["value"] >= fitted.facts["value_of_best_single"] - 0.05
    picks = [choice.member for choice in fitted.choose([f"prompt {word}" for word in range(300, 400)])]
    assert np.mean(np.array(picks) == 1) > 0.9
    without = fit_router(prompts, scores, NAMES, replace(QUICK, fall_back=False), np.random.default_rng(0))
    assert without.threshold == 0


def test_what_is_measured_on_held_out_prompts_was_not_chosen_on_them():
    """Where nothing can be learnt no router beats the best single member; the best of many thresholds seems to."""
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        prompts = [" ".join(f"w{word}" for word in rng.integers(0, 40, 6)) for _ in range(60)]
        facts = fit_router(prompts, rng.uniform(size=(60, 3)), NAMES, SETTINGS[1], rng).facts
        found.append(facts["value"] - facts["value_of_best_single"])
    assert abs(np.mean(found)) < 0.02 and min(found) < -0.02, "each is 0.01 to 0.04 if the threshold is chosen there"


def test_below_the_threshold_the_best_single_member_is_asked(router):
    prompts, _, _ = routed_prompts(20, seed=3)
    surely = sorted(choice.confidence for choice in router.choose(prompts))[10]
    for choice in replace(router, threshold=surely, fallback=2).choose(prompts):
        assert choice.fell_back == (choice.confidence < surely)
        assert choice.member == 2 or not choice.fell_back
    assert all(choice.fell_back for choice in replace(router, threshold=NEVER).choose(prompts))


def test_calibration_does_not_look_at_a_prompts_own_label():
    rng = np.random.default_rng(0)
    prompts = [f"w{i} x{i} y{i}" for i in range(120)]
    scores = np.eye(2)[rng.integers(0, 2, 120)]
    memory = RouterSettings(classifier=LogisticSettings((1e4,)))  # learns every prompt by heart
    fitted = fit_router(prompts, scores, NAMES[:2], memory, rng)
    assert np.mean([choice.member == best for choice, best in zip(
        replace(fitted, threshold=0.0).choose(prompts), scores.argmax(axis=1), strict=True)]) > 0.95  # fmt: skip
    assert fitted.facts["value_without_fallback"] < 0.65
    assert max(fitted.probabilities(prompts).max(axis=1)) < 0.8, "no surer than it was on held-out prompts"


def test_costs_move_labels_and_fallback():
    prompts, scores, _ = routed_prompts(90, noise=0)
    costly = replace(QUICK, costs=(0.0, 0.0, 5.0), cost_weight=0.1)
    fitted = fit_router(prompts, scores, NAMES, costly, np.random.default_rng(0))
    assert fitted.costs == (0.0, 0.0, 5.0)
    dearer = replace(costly, cost_weight=0.3)  # the painter's 1 is worth less than the others' 0 now
    again = fit_router(prompts, scores, NAMES, dearer, np.random.default_rng(0))
    assert {choice.member for choice in fitted.choose(prompts)} == {0, 1, 2}
    assert {choice.member for choice in again.choose(prompts)} == {0, 1}


def test_missing_answers_are_worth_the_worst():
    prompts, scores, sorts = routed_prompts(90, noise=0)
    scores[::3, 1] = np.nan
    fitted = fit_router(prompts, scores, NAMES, QUICK, np.random.default_rng(0))
    assert np.mean([choice.member == sort for choice, sort in zip(fitted.choose(prompts), sorts, strict=True)]) > 0.9


def test_more_prompts_are_better():
    prompts, scores, _ = routed_prompts(150, noise=0.3)
    points = learning_curve(prompts, scores, NAMES, SETTINGS[1], np.random.default_rng(0), [5, 100])
    assert [point.size for point in points] == [5, 100]
    assert points[1].quality.mean > points[0].quality.mean and points[1].gain.low > 0
    for point in points:
        assert point.regret.mean + point.quality.mean == pytest.approx(scores.max(axis=1).mean())
    again = learning_curve(prompts, scores, NAMES, SETTINGS[1], np.random.default_rng(0), [5, 100])
    assert again == points
    twice = [prompts[row] for row in (*range(40), *[0] * 30)]  # a fold has the prompt that is there 31 times
    points = learning_curve(twice, scores[:70], NAMES, QUICK, np.random.default_rng(0), [10, 70])
    assert points[0].size == 10 and 10 < points[1].size <= 39
    with pytest.raises(UserError, match=r"sizes of the learning curve are \[4\], of .* wanted each at least 5"):
        learning_curve(prompts, scores, NAMES, QUICK, np.random.default_rng(0), [4])


def test_a_curve_goes_on_where_few_prompts_hold_one_class():
    prompts, scores, _ = routed_prompts(60, noise=0)
    scores[:] = [1.0, 0.0, 0.0]
    scores[0] = [0.0, 1.0, 0.0]
    point = learning_curve(prompts, scores, NAMES, QUICK, np.random.default_rng(0), [5])[0]
    assert point.gain.mean == 0 and point.quality.mean == pytest.approx(59 / 60)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda facts: facts.update(format=2), "format 2, wanted 1"),
        (lambda facts: facts.update(threshold=0.9), "content is not what was written"),
        (lambda facts: facts.update(names=list(NAMES)[::-1]), "content is not what was written"),
        (lambda facts: facts.pop("fallback"), "fallback missing"),
    ],
)
def test_changed_facts_are_refused(saved, change, words):
    facts = json.loads((saved / FACTS).read_text())
    change(facts)
    (saved / FACTS).write_text(json.dumps(facts))
    with pytest.raises(UserError, match=words):
        load_router(saved)


@pytest.mark.parametrize("part", ["features/part.safetensors", "classifier/part.safetensors", "features/part.json"])
def test_damaged_missing_and_added_files_are_refused(saved, part):
    content = (saved / part).read_bytes()
    (saved / part).write_bytes(content[:-5] + b"?" + content[-4:])
    with pytest.raises(UserError, match=f"{part} missing, added, or not what was written; fit the router again"):
        load_router(saved)
    (saved / part).unlink()
    with pytest.raises(UserError, match=part):
        read_router_facts(saved)


def test_an_added_file_is_refused(saved):
    (saved / "classifier" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"classifier/config.json missing, added"):
        load_router(saved)
    (saved / "classifier" / "config.json").unlink()
    os.mkfifo(saved / "classifier" / "added_tokens.json")  # which transformers would open, and wait
    with pytest.raises(UserError, match=r"classifier/added_tokens.json missing, added"):
        load_router(saved)


def test_a_part_that_is_a_pipe_is_not_waited_for(saved):
    (saved / "classifier" / "part.json").unlink()
    os.mkfifo(saved / "classifier" / "part.json")
    with pytest.raises(UserError, match=r"classifier is damaged .*a named pipe, no file.*; fit the router again"):
        read_part(saved / "classifier")


def test_what_is_no_router_is_neither_read_nor_replaced(router, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match="no router"):
        load_router(tmp_path / "other")
    with pytest.raises(UserError, match=r"holds no router\.json"):
        save_router(tmp_path / "other", router)
    assert (tmp_path / "other" / "mine.txt").read_text() == "kept"
    (tmp_path / "other" / FACTS).write_text("{")
    with pytest.raises(UserError, match="damaged"):
        load_router(tmp_path / "other")


def test_a_folder_is_whole_or_as_it_was(router, saved, monkeypatch):
    before = {path: path.read_bytes() for path in saved.rglob("*.*")}

    def full(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(router.classifier), "write", lambda self, folder: full(folder))
    with pytest.raises(UserError, match="No space left on device"):
        save_router(saved, router)
    assert {path: path.read_bytes() for path in saved.rglob("*.*")} == before
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize(
    "members, words",
    [
        ({"adder": "d0", "speller": "d1"}, "fitted for adder, speller, painter, given adder, speller;"),
        ({"speller": "d1", "adder": "d0", "painter": "d2"}, "in that order"),
        ({"adder": "d0", "speller": "other", "painter": "d2"}, "other weights of speller than"),
    ],
)
def test_other_members_are_refused(saved, members, words):
    with pytest.raises(UserError, match=words):
        load_router(saved, members)


def test_members_that_have_evolved_are_known_by_name(router):
    router.check_members(NAMES)


@pytest.mark.parametrize("prompt", ["", " \n", None])
def test_empty_prompts_are_refused(router, prompt):
    with pytest.raises(UserError, match="prompt 1 is .*, wanted a text to route by"):
        router.choose(["fine", prompt])


@pytest.mark.parametrize(
    "change, words",
    [
        ({"names": NAMES[:2]}, "wanted .90, 2."),
        ({"names": ("a", "a", "b")}, "each named once"),
        ({"settings": replace(QUICK, folds=91)}, "different prompts for 91 folds"),
        ({"settings": replace(QUICK, costs=(1.0,))}, "1 costs for 3 members"),
        ({"settings": replace(QUICK, cost_weight=1.0)}, "no costs are given"),
        ({"digests": ("a",)}, "1 digests for 3 members"),
        ({"scores": np.ones((90, 3))}, "all 3 members tie"),
        ({"settings": replace(QUICK, label_temperature=0.0)}, "temperature of soft labels is 0"),
    ],
)
def test_bad_input_of_a_fit(change, words):
    prompts, scores, _ = routed_prompts(90)
    given = {"prompts": prompts, "scores": scores, "names": NAMES, "settings": QUICK}
    with pytest.raises(UserError, match=words):
        fit_router(**given | change, generator=np.random.default_rng(0))


def test_expected_quality_less_cost_decides_and_lambda_may_change_later():
    prompts, scores, sorts = routed_prompts(90, noise=0)
    how = RouterSettings(classifier=QualitySettings((0.01,)), costs=(0.0, 0.0, 5.0), cost_weight=0.01)
    fitted = fit_router(prompts, scores, NAMES, how, np.random.default_rng(0))
    assert [choice.member for choice in fitted.choose(prompts)] == sorts.tolist()
    dearer = replace(fitted, cost_weight=0.5, threshold=0.0)
    assert {choice.member for choice in dearer.choose(prompts)} == {0, 1}
