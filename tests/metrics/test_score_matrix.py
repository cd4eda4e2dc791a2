"""What members' answers are worth: whole, checked, and the same after it was written."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import UserError
from swarm.metrics.score_matrix import HEADER, ROWS, ScoreMatrix, load_scores, save_scores, score_answers
from swarm.metrics.table import get_metric
from swarm.storage.files import file_digest

PROMPTS = ("What is 1 + 1?", "Say\u2028hello\nplease")
NAMES = ("a", "b", "c")
TEXTS = (("2", "two", None), ("hello", "", "hi \ud83d"))
REFERENCES = ("2", "hello")


def matrix(**changes):
    scores = np.array([[1.0, 0.1 + 0.2, math.nan], [1 / 3, 0.0, -2.5]])
    fields = {"prompts": PROMPTS, "names": NAMES, "texts": TEXTS, "metric": "mine", "scores": scores,
              "settings": {"version": "1", "n": 3}, "references": REFERENCES, "split": "val"}  # fmt: skip
    return ScoreMatrix(**(fields | changes))


def test_it_comes_back_to_the_bit(tmp_path):
    save_scores(tmp_path / "scores", matrix())
    loaded = load_scores(tmp_path / "scores")
    for field in ("prompts", "names", "texts", "metric", "settings", "references", "split"):
        assert getattr(loaded, field) == getattr(matrix(), field)
    assert loaded.scores.tobytes() == matrix().scores.tobytes() and loaded.scores.dtype == np.float64
    save_scores(tmp_path / "scores", matrix(references=(), split=""))
    assert load_scores(tmp_path / "scores").references == ()
    assert [path.name for path in tmp_path.iterdir()] == ["scores"]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
def test_any_finite_score_comes_back(tmp_path_factory, scores):
    folder = tmp_path_factory.mktemp("any") / "scores"
    save_scores(folder, ScoreMatrix(("p",), ("a", "b"), (("x", "y"),), "mine", np.array([scores])))
    assert load_scores(folder).scores.tobytes() == np.array([scores]).tobytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"names": ("a", "b", "a")}, '"a" more than once'),
        ({"names": ()}, "no members"),
        ({"texts": (("2", "two"), ("x", "y", "z"))}, r"row 0 has 2 answers, wanted 3, .*\(c missing\)"),
        ({"texts": (("2", "two", "w"), ("x", "y", "z", "q"))}, "row 1 has 4 answers, wanted 3"),
        ({"texts": (("2", "two", "w"),)}, "1 rows of texts for 2 prompts"),
        ({"texts": (("2", "two", 2), ("x", "y", "z"))}, "row 0: the answer of c is 2, wanted a text"),
        ({"references": ("2",)}, "1 rows of references for 2 prompts"),
        ({"scores": np.zeros((3, 2))}, r"shape \(3, 2\), wanted 2 prompts by 3 members"),
        ({"scores": np.array([[0, 0, 0], [0, np.inf, 0]])}, "row 1 has an infinite score"),
    ],
)
def test_what_does_not_fit_is_refused(changes, said):
    with pytest.raises(UserError, match=said):
        matrix(**changes)


def damage(folder, line=None, header=None):
    if line is not None:
        lines = (folder / ROWS).read_text().splitlines()
        (folder / ROWS).write_text("\n".join([lines[0], line]) + "\n")
        header = {"rows": file_digest(folder / ROWS)} | (header or {})
    content = json.loads((folder / HEADER).read_text()) | (header or {})
    (folder / HEADER).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("line", "header", "said"),
    [
        ('{"prompt": "p", "texts": ["x", "y"], "scores": [1, 2, 3]}', None, r"line 2 has 2 answers, wanted 3"),
        ('{"prompt": "p", "texts": ["x", "y", "z"], "scores": [1, 2]}', None, r"line 2 has 2 answers"),
        ('{"prompt": "p", "texts": ["x", "y", "z"], "scores": [1, 2, "3"]}', None, "line 2: scores is"),
        ('{"prompt": "p", "texts": ["x", "y", "z"], "scores": [1, 2, true]}', None, "line 2: scores is"),
        ('{"texts": ["x", "y", "z"], "scores": [1, 2, 3]}', None, "line 2 is .*wanted prompt, texts and scores"),
        ("{", None, "line 2, column 2"),
        (None, {"format": 9}, "has format 9, wanted 1"),
        (None, {"rows": "0"}, "is missing or not the one"),
        (None, {"names": None}, "is damaged"),
    ],
)
def test_damage_is_said_with_its_line(tmp_path, line, header, said):
    save_scores(tmp_path / "scores", matrix())
    damage(tmp_path / "scores", line, header)
    with pytest.raises(UserError, match=said):
        load_scores(tmp_path / "scores")


def test_what_is_not_there_or_someone_elses(tmp_path):
    with pytest.raises(UserError, match="holds no scores"):
        load_scores(tmp_path / "nothing")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="name a folder that is new"):
        save_scores(tmp_path / "mine", matrix())
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_answers_are_scored_in_one_call_and_missing_ones_not_at_all():
    calls = []

    class Length:
        name = "length"

        def settings(self):
            return {"calls": len(calls)}

        def score(self, candidates, references):
            calls.append((candidates, references))
            return [len(a) - len(b) for a, b in zip(candidates, references, strict=True)]

    scored = score_answers(PROMPTS, NAMES, TEXTS, REFERENCES, Length(), split="val")
    assert calls == [(["2", "two", "hello", "", "hi \ud83d"], ["2", "2", "hello", "hello", "hello"])]
    np.testing.assert_array_equal(scored.scores, [[0, 2, np.nan], [0, -5, -1]])
    assert scored.settings == {"calls": 1} and scored.split == "val" and scored.metric == "length"
    with pytest.raises(UserError, match="1 references for 2 prompts"):
        score_answers(PROMPTS, NAMES, TEXTS, ["2"], Length())
    assert len(calls) == 1


def test_the_best_single_member_is_told_by_prompts_that_all_answered():
    assert matrix().best_single() == 0
    assert matrix(scores=np.array([[0, 9, np.nan], [1, 2, 3]])).best_single() == 2
    with pytest.raises(UserError, match="no prompt has a mine score for every member"):
        matrix(scores=np.array([[0, 9, np.nan], [1, np.nan, 3]])).best_single()


def test_a_real_metric_goes_all_the_way(tmp_path):
    scored = score_answers(PROMPTS, NAMES, TEXTS, REFERENCES, get_metric("exact"))
    save_scores(tmp_path / "scores", scored)
    np.testing.assert_array_equal(load_scores(tmp_path / "scores").scores, [[1, 1, np.nan], [1, 0, 0]])


def test_a_broken_model_is_no_missing_answer():
    class Broken:
        name = "broken"

        def settings(self):
            return {}

        def score(self, candidates, references):
            return [math.nan if text == "two" else 1.0 for text in candidates]

    with pytest.raises(UserError, match="metric broken gives nan for the answer of b in row 0"):
        score_answers(PROMPTS, NAMES, TEXTS, REFERENCES, Broken())
