"""The scorers against replies of real models that two readers have labelled without seeing a verdict."""

import importlib.util

from repository import ROOT

spec = importlib.util.spec_from_file_location("reply_labels", ROOT / "scripts/reply_labels.py")
labels = importlib.util.module_from_spec(spec)
spec.loader.exec_module(labels)


def test_the_scorers_read_what_both_readers_read():
    rows = labels.labelled_replies()
    assert len(rows) == 400
    both = [(row, *map(labels.plain, row["labels"])) for row in rows]
    agreed = [(row, first) for row, first, second in both if first == second]
    assert len(agreed) >= 0.98 * len(rows)
    wrong = [kind for row, label in agreed if (kind := labels.kind_of_error(
        label, labels.read_answer(row), labels.plain(row["gold"])))]  # fmt: skip
    assert len(wrong) <= 0.05 * len(agreed), wrong
    assert not [kind for kind in wrong if "changes the score" in kind]
    assert not [kind for kind in wrong if "not read" in kind], "an answer that is there is read"


def test_the_table_says_what_differs_and_whether_it_changes_a_score():
    row = {"data": "d", "labels": ["5", "5.0"], "gold": "5", "reply": "The answer is 6."}
    assert labels.table([row]) == [
        "1 replies, both readers agree on 1",
        "d: as labelled 0 of 1",
        "    1 another read, which changes the score",
    ]
