"""A run begins with the relative rows that earlier ones have worked out; its answers are the same."""

import json

import pytest
from deepen_world import deepen

from swarm.members.fusion.rows import RowSource
from swarm.programs.deepen.result_file import read_results, result_name
from swarm.storage.user_cache import own_cache


@pytest.fixture
def worked_out(monkeypatch):
    """How many rows each run works out."""
    counts = []
    right = RowSource.rows

    def counted(self, ids, *given):
        counts[-1] += len(ids)
        return right(self, ids, *given)

    monkeypatch.setattr(RowSource, "rows", counted)
    return counts


def test_a_second_run_works_few_rows_out(conf, worked_out):
    answers, recipes = [], []
    for name, more in (("none", ("--row_disk", "0")), ("first", ()), ("second", ())):
        worked_out.append(0)
        folder = conf.parent / name
        assert deepen("run", "--config", conf, "-lr", "0.5", "--rows", "lazy", "-rsd", folder, *more) == 0
        path = folder / result_name(0.5, 5)
        answers.append([record["all"] for record in read_results(path)])
        recipes.append(json.loads(path.with_suffix(".json").read_text()))
        assert (own_cache() / "fusion_rows").exists() == (name != "none")
    assert answers[0] == answers[1] == answers[2]
    assert recipes[0] == recipes[1] and "row_disk" not in recipes[1], "answers with other rows kept are gone on with"
    none, first, second = worked_out
    assert first == none and second < first / 4
