"""The label audit by hand on a small world, and beside scipy's Kendall tau."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from swarm.errors import UserError
from swarm.metrics.audit import audit_text, kendall_tau, label_audit, winning_shares
from swarm.metrics.gpt_rank import comparison_matrix
from swarm.metrics.score_matrix import ScoreMatrix

NAMES = ("a", "b", "c")
FIRST = [[3, 1, 2], [0, 0, 0], [5, 5, 1], [1, 1.05, 0], [np.nan, 1, 2]]
SECOND = [[0, 1, 2], [4, 2, 0], [1, 2, 3], [9, 9, 9], [1, 2, 3]]


def matrix(metric, scores, **changes):
    count = len(scores)
    texts = tuple((f"{row} a", f"{row} b", f"{row} c") for row in range(count))
    fields = {"prompts": tuple(map(str, range(count))), "names": NAMES, "texts": texts, "metric": metric,
              "scores": np.array(scores, dtype=float), "settings": {"of": metric}, "split": "val"}  # fmt: skip
    return ScoreMatrix(**(fields | changes))


def comparisons():
    verdicts = {("a", "b"): "B is better", ("a", "c"): "B is better", ("b", "c"): "A is better"}  # b, c, a
    made = np.stack([comparison_matrix(NAMES, verdicts)] * 5)
    made[1] = np.nan
    return made


RECORD = label_audit([matrix("one", FIRST), matrix("two", SECOND)], comparisons())


def test_winners_by_hand():
    assert (RECORD["prompts"], RECORD["complete"], RECORD["compared"]) == (5, 4, 3)
    one = RECORD["metrics"]["one"]
    assert one["wins"] == pytest.approx({"a": (1 + 1 / 3 + 1 / 2) / 4, "b": (1 / 3 + 1 / 2 + 1) / 4, "c": 1 / 12})
    assert one["sole_wins"] == {"a": 0.25, "b": 0.25, "c": 0.0}
    # the last row's lead of 0.05 is less than a tenth of the spread, which is about 1
    assert (one["ties"], one["near_ties"], one["all_equal"]) == (0.5, 0.25, 0.25)
    assert one["best_single"] == "a" and one["mean"]["a"] == 9 / 4 and one["size"] == 4
    gpt = RECORD["metrics"]["gpt_rank"]
    assert gpt["mean"] == {"a": 3, "b": 1, "c": 2} and gpt["wins"] == {"a": 0, "b": 1, "c": 0} and gpt["size"] == 3
    assert label_audit([matrix("one", FIRST)], near=0.01)["metrics"]["one"]["near_ties"] == 0


def test_choices_by_hand():
    choices = RECORD["choices"]
    assert {way: cells["two"]["mean"] for way, cells in choices.items()} == pytest.approx({
        "always a": 14 / 4, "always b": 14 / 4, "always c": 14 / 4, "random": 14 / 4,
        "oracle one": (0 + 2 + 1.5 + 9) / 4, "oracle two": (2 + 4 + 3 + 9) / 4, "oracle gpt_rank": (1 + 2 + 9) / 3,
    })  # fmt: skip
    assert choices["oracle gpt_rank"]["gpt_rank"] == {"mean": 1.0, "half_width": 0.0, "size": 3}
    # of the three rows that were compared, it takes a, then a or b, then b
    assert choices["oracle one"]["gpt_rank"]["mean"] == pytest.approx((3 + 2 + 1) / 3)
    assert choices["random"]["gpt_rank"]["mean"] == pytest.approx(2)
    half = 1.959964 * np.std([0, 2, 1.5, 9], ddof=1) / 2
    assert choices["oracle one"]["two"]["half_width"] == pytest.approx(half)


def test_agreement_by_hand():
    pair = RECORD["agreement"][0]
    assert (pair["first"], pair["second"]) == ("one", "two")
    # rows 0 and 2 rank under both; both rank by one sole winner in row 0 only, where they differ
    assert pair["tau_size"] == 2 and pair["kendall_tau"] == pytest.approx((-1 / 3 - 2 / np.sqrt(6)) / 2)
    assert (pair["equal_winners"], pair["winners_size"]) == (0.0, 1)
    flat = label_audit([matrix("one", [[1, 1, 1]]), matrix("two", [[1, 2, 3]])])["agreement"][0]
    assert flat["kendall_tau"] is None and flat["equal_winners"] is None


ROWS = st.lists(st.integers(0, 3), min_size=4, max_size=4)


@given(ROWS, ROWS)
def test_tau_is_scipys(first, second):
    ours = kendall_tau(np.array([first], float), np.array([second], float))[0]
    np.testing.assert_allclose(ours, kendalltau(first, second).statistic, atol=1e-12)


@given(st.lists(ROWS, min_size=1, max_size=5))
def test_winning_shares_are_shares_of_the_best(rows):
    scores = np.array(rows, float)
    shares = winning_shares(scores)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose((shares * scores).sum(axis=1), scores.max(axis=1))
    scores[0, 0] = np.nan
    assert np.isnan(winning_shares(scores)[0]).all()


@given(st.lists(st.tuples(ROWS, ROWS), min_size=1, max_size=5))
def test_nothing_is_worth_more_than_a_metrics_own_oracle(rows):
    names = ("a", "b", "c", "d")
    texts = tuple(names for _ in rows)
    record = label_audit([
        matrix("one", [row for row, _ in rows], names=names, texts=texts),
        matrix("two", [row for _, row in rows], names=names, texts=texts),
    ])  # fmt: skip
    for metric in ("one", "two"):
        most = record["choices"][f"oracle {metric}"][metric]["mean"]
        assert all(cells[metric]["mean"] <= most + 1e-9 for cells in record["choices"].values())


def test_it_is_kept_and_read():
    assert json.loads(json.dumps(RECORD, allow_nan=False)) == RECORD
    assert RECORD["settings"] == {"one": {"of": "one"}, "two": {"of": "two"}} and RECORD["split"] == "val"
    text = audit_text(RECORD)
    assert "4 of 5 prompts of val have every score, 3 of them with comparisons" in text
    for said in ("| oracle one ", "| always c ", "| near ties ", "25.0 %", "1.000 ± 0.000", "| one, two ", "(n=2)"):
        assert said in text, said
    widths = [{len(line) for line in part.splitlines() if line.startswith("|")} for part in text.split(":\n")[1:]]
    assert all(len(width) == 1 for width in widths)
    assert "–" in audit_text(label_audit([matrix("one", [[1, 1, 1]]), matrix("two", [[1, 2, 3]])]))


def test_one_metric_and_one_member_do():
    alone = matrix("one", [[1], [2]], names=("a",), texts=(("x",), ("y",)))
    record = label_audit([alone])
    assert record["metrics"]["one"]["wins"] == {"a": 1.0} and record["agreement"] == []
    audit_text(record)


def test_what_does_not_fit_is_refused():
    one = matrix("one", FIRST)
    for given_, said in (
        ([], "at least one metric"),
        ([one, one], "two metrics of an audit are called one"),
        ([one, matrix("two", SECOND, names=("a", "b", "d"))], "one and two are not of the same answers"),
        ([matrix("one", [[np.nan, 1, 2]])], "no prompt has a score for every member"),
    ):
        with pytest.raises(UserError, match=said):
            label_audit(given_)
    with pytest.raises(UserError, match=r"shape \(4, 3, 3\), wanted \(5, 3, 3\)"):
        label_audit([one], comparisons()[:4])
    with pytest.raises(UserError, match="two metrics of an audit are called gpt_rank"):
        label_audit([matrix("gpt_rank", FIRST)], comparisons())
    assert set(label_audit([matrix("gpt_rank", FIRST)])["metrics"]) == {"gpt_rank"}
    without = label_audit([one], np.full((5, 3, 3), np.nan))
    assert without["compared"] == 0 and "gpt_rank" not in without["metrics"]
