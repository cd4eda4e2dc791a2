"""Every classifier learns a simple world, keeps its scores when it is saved, and repeats itself to the bit."""

import os
import subprocess
import sys

import numpy as np
import pytest

from swarm.errors import UserError
from swarm.members.routing.classifiers import CLASSIFIERS, classifier_settings, read_classifier
from swarm.members.routing.interfaces import softmax
from swarm.members.routing.knn import KnnSettings
from swarm.members.routing.logistic import LogisticSettings
from swarm.members.routing.quality import QualitySettings

ON_FEATURES = [kind for kind, row in CLASSIFIERS.items() if row.settings.reads == "features"]


def world(size, seed=0, width=6):
    """Features in three clouds; cloud k is best answered by member k. Returns features, one-hot labels, clouds."""
    rng = np.random.default_rng(seed)
    clouds = rng.integers(0, 3, size)
    rows = rng.normal(0, 0.4, (size, width)) + 2 * np.eye(3, width)[clouds]
    return rows.astype(np.float32), np.eye(3)[clouds], clouds


def fitted(kind, seed=0, size=90, weights=None):
    rows, labels, _ = world(size)
    weights = np.ones(size) if weights is None else weights
    return classifier_settings(kind).fit(rows, labels, weights, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", ON_FEATURES)
def test_learns_saves_and_repeats(kind, tmp_path):
    classifier = fitted(kind)
    rows, _, clouds = world(60, seed=1)
    scores = classifier.scores(rows)
    assert scores.shape == (60, 3) and scores.dtype == np.float64
    assert (scores.argmax(axis=1) == clouds).mean() > 0.9
    if classifier.learns == "labels":
        assert scores.sum(axis=1) == pytest.approx(1) and (scores >= 0).all()
    assert (fitted(kind).scores(rows) == scores).all()
    assert (np.concatenate([classifier.scores(rows[i : i + 7]) for i in range(0, 60, 7)]) == scores).all()
    classifier.write(tmp_path / "part")
    assert (read_classifier(kind, tmp_path / "part").scores(rows) == scores).all()
    again = classifier.settings().fit(*world(90)[:2], np.ones(90), np.random.default_rng(5))
    assert again.settings() == classifier.settings(), "what was chosen by cross-validation is fixed"
    assert classifier.scores(rows[:0]).shape == (0, 3)


@pytest.mark.parametrize("kind", [kind for kind in ON_FEATURES if CLASSIFIERS[kind].settings.learns == "labels"])
def test_soft_labels_come_back_as_probabilities(kind):
    rows = np.repeat(np.eye(2, 4, dtype=np.float32), 200, axis=0)
    labels = np.repeat([[0.7, 0.3, 0.0], [0.1, 0.4, 0.5]], 200, axis=0)
    settings = classifier_settings(kind, {"dropout": 0.0} if kind == "mlp" else {})  # a row is a single feature
    scores = settings.fit(rows, labels, np.ones(400), np.random.default_rng(0)).scores(rows[::200])
    assert scores == pytest.approx(labels[::200], abs=0.06)


@pytest.mark.parametrize("kind", [kind for kind in ON_FEATURES if CLASSIFIERS[kind].settings.learns == "labels"])
def test_prompts_without_weight_say_nothing(kind):
    rows, labels, _ = world(90)
    wrong, weights = labels.copy(), np.ones(180)
    weights[90:] = 0
    both = np.concatenate([rows, rows + np.float32(0.01)]), np.concatenate([labels, wrong[:, ::-1]]), weights
    classifier = classifier_settings(kind).fit(*both, np.random.default_rng(0))
    test, _, clouds = world(60, seed=1)
    assert (classifier.scores(test).argmax(axis=1) == clouds).mean() > 0.9


@pytest.mark.parametrize("kind", [kind for kind in ON_FEATURES if CLASSIFIERS[kind].settings.learns == "labels"])
def test_a_member_that_is_never_best_is_never_picked(kind):
    rows, labels, _ = world(60)
    two = np.where(labels[:, [2]] > 0, [[0.5, 0.5, 0.0]], labels)
    classifier = classifier_settings(kind).fit(rows, two, np.ones(60), np.random.default_rng(0))
    assert (classifier.scores(rows).argmax(axis=1) < 2).all()
    alone = classifier_settings(kind).fit(
        rows, np.tile([0.0, 1.0, 0.0], (60, 1)), np.ones(60), np.random.default_rng(0)
    )
    assert (alone.scores(rows).argmax(axis=1) == 1).all()


def test_neighbours_by_hand():
    rows = np.array([[1, 0], [0, 2], [3, 3]], dtype=np.float32)
    labels = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    knn = KnnSettings((2,)).fit(rows, labels, np.array([1.0, 1.0, 0.5]), np.random.default_rng(0))
    half, prior = np.sqrt(0.5), 0.4
    expected = (1 + 0.1 * prior) / (1 + 0.5 * half + 0.1)
    assert knn.scores(np.array([[7.0, 0.0]]))[0, 0] == pytest.approx(expected)
    assert knn.scores(np.array([[0.0, 0.0]]))[0] == pytest.approx([prior, 1 - prior]), "like no other"


def test_neighbours_do_not_vote_for_themselves_when_their_number_is_chosen():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(120, 3)).astype(np.float32)
    labels = np.eye(2)[rng.integers(0, 2, 120)]  # nothing to learn: the more neighbours the better
    doubled, twice = np.repeat(rows, 2, axis=0), np.repeat(labels, 2, axis=0)
    assert KnnSettings((1, 60)).fit(rows, labels, np.ones(120), rng).settings().neighbours == (60,)
    assert KnnSettings((1, 60)).fit(doubled, twice, np.ones(240), rng).settings().neighbours == (60,)


def test_sparse_features_are_packed_and_come_back(tmp_path):
    rows = np.zeros((50, 400), dtype=np.float32)
    rows[np.arange(50), np.arange(50) * 7] = 1 + np.arange(50)
    rows[:, 399] = 0.5
    knn = KnnSettings((3,)).fit(rows, np.eye(2)[np.arange(50) % 2], np.ones(50), np.random.default_rng(0))
    knn.write(tmp_path / "part")
    assert (tmp_path / "part" / "part.safetensors").stat().st_size < rows.nbytes / 10
    assert (read_classifier("knn", tmp_path / "part").columns == knn.columns).all()


def test_logistic_regression_of_two_members_is_the_closed_form_of_one_odds():
    rows = np.repeat(np.array([[0.0], [1.0]], dtype=np.float32), 100, axis=0)
    labels = np.repeat([[0.8, 0.2], [0.25, 0.75]], 100, axis=0)
    model = LogisticSettings((1e6,)).fit(rows, labels, np.ones(200), np.random.default_rng(0))
    assert model.scores(rows[::100]) == pytest.approx(labels[::100], abs=2e-3)
    odds = np.diff(model.intercepts)[0]
    assert softmax(np.array([0.0, odds])) == pytest.approx([0.8, 0.2], abs=2e-3)


def test_one_number_is_a_choice_of_one():
    assert classifier_settings("knn", {"neighbours": 5}) == KnnSettings((5,))


@pytest.mark.parametrize(
    "kind, options, words",
    [
        ("svm", {}, "classifier is 'svm', wanted one of knn, logistic"),
        ("knn", {"k": 3}, "knn has no option k; wanted neighbours"),
        ("knn", {"neighbours": [0]}, "each at least 1"),
        ("knn", {"neighbours": "few"}, "neighbours is 'few', wanted a whole number, or several as"),
        ("logistic", {"strengths": [-1.0]}, "each above 0"),
    ],
)
def test_refused(kind, options, words):
    with pytest.raises(UserError, match=words):
        classifier_settings(kind, options)


def test_expected_quality_of_members_with_and_without_gaps():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    true = rng.normal(size=(4, 3))
    scores = rows @ true + np.array([0, 1, 2])
    gaps = scores.copy()
    gaps[::3, 1] = np.nan
    for given in (scores, gaps):
        found = QualitySettings((1e-9,)).fit(rows, given, np.ones(300), rng)
        assert found.coefficients == pytest.approx(true, abs=1e-4)
        assert found.intercepts == pytest.approx([0, 1, 2], abs=1e-4)


def test_ridge_in_prompts_is_ridge_in_features_and_scikit_learns():
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    rows, scores, weights = rng.normal(size=(12, 40)), rng.normal(size=(12, 2)), rng.uniform(0.5, 2, 12)
    wide = QualitySettings((0.1,)).fit(rows, scores, weights, rng)
    model = Ridge(0.1 * weights.sum()).fit(rows, scores, weights)
    assert wide.coefficients == pytest.approx(model.coef_.T, abs=1e-6)
    few = QualitySettings((0.1,)).fit(rows[:, :5], scores, weights, rng)
    model.fit(rows[:, :5], scores, weights)
    assert few.coefficients == pytest.approx(model.coef_.T, abs=1e-6)
    assert few.intercepts == pytest.approx(model.intercept_, abs=1e-6)


def test_expected_quality_does_not_depend_on_how_many_threads_there_are():
    program = """
import hashlib, numpy as np
from swarm.members.routing.quality import QualitySettings
rng = np.random.default_rng(0)
rows, scores = rng.normal(size=(300, 500)), rng.uniform(size=(300, 4))
fitted = QualitySettings((0.1,)).fit(rows, scores, np.ones(300), rng)
print(hashlib.sha256(fitted.coefficients.tobytes()).hexdigest())
"""
    other = {"OMP_NUM_THREADS": "1" if os.environ["OMP_NUM_THREADS"] == "2" else "2"}
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | other, text=True, capture_output=True)
    exec(program.replace("print(", "here = ("), found := {})
    assert done.stdout == found["here"] + "\n", done.stderr


def test_a_penalty_that_fits_noise_is_not_chosen():
    rng = np.random.default_rng(0)
    rows, scores = rng.normal(size=(60, 50)), rng.normal(size=(60, 2))
    assert QualitySettings((1e-6, 10.0)).fit(rows, scores, np.ones(60), rng).settings().penalties == (10.0,)
