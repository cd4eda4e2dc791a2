"""The documents tell the truth: what they say is tested is tested, and what they show runs."""

import json
import re
import shutil
from pathlib import Path

import pytest

from swarm import front_doors
from swarm.searching import search_program

ROOT = Path(__file__).resolve().parent.parent
COMPAT = (ROOT / "docs" / "compat.md").read_text(encoding="utf8")
OWN_EVALS = (ROOT / "docs" / "add_an_eval.md").read_text(encoding="utf8")


def test_every_row_of_compat_names_a_test_that_is_there():
    rows = [line for line in COMPAT.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row.rsplit("|", 2)[1])
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf8"), (file, test)


@pytest.mark.parametrize("number", [0, 1])
def test_the_evals_that_it_shows_run(tmp_path, monkeypatch, number):
    """Each is written to the file that its first line names, and searched by."""
    code = re.findall(r"```python\n(.*?)```", OWN_EVALS, re.DOTALL)[number]
    file = re.match(r"# (\S+\.py)\n", code)[1]
    named = re.search(rf"-e ({re.escape(file)}:\w+)", OWN_EVALS)[1]
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_text(code)
    records = [
        {"question": f"A-B:{i} ; degree of A", "answer": str(i), "context_chunks": ["A-B:1"] * 6} for i in (1, 2)
    ]
    (tmp_path / "mine.json").write_text(json.dumps({"dev": records, "test": records}))
    shutil.copytree(ROOT / "data" / "embedded", tmp_path / "data" / "embedded")
    small = "--graph_num 2 --trial_num 2 -m 0 -n mine --max_new_tokens 3".split()
    assert front_doors.guarded(lambda: search_program(["-e", named, "-d", "mine.json", *small])) == 0
    scores = json.loads((tmp_path / "search/mine/result.json").read_text())["scores"]["found"]["dev"]
    assert set(scores) == ({"strict"} if number == 0 else {"strict", "brevity"})
