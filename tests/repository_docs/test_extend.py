"""The plugins that docs/extend.md shows do what it says, all of them in one search."""

import json
import re

from repository import ROOT

from swarm.metrics.table import get_metric
from swarm.plugins import GROUPS, use_plugin_files
from swarm.programs import front_doors
from swarm.programs.search import search_program

PAGE = (ROOT / "docs" / "extend.md").read_text(encoding="utf8")
FILES = dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", PAGE, re.DOTALL))


def test_the_plugins_that_it_shows_work(tmp_path, monkeypatch):
    assert set(FILES) == {"concise.py", "longest.py", "capitals.py", "sums.py", "lines.py", "climber.py"}
    monkeypatch.chdir(tmp_path)
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    [(record, place)] = re.findall(r"echo '(.*)' > (\S+)", PAGE)
    (tmp_path / place).parent.mkdir(parents=True)
    experts = ["expert_0_edges", "expert_1_degree"]
    (tmp_path / place).write_text(json.dumps(json.loads(record) | {"members": experts}))
    words = ["--plugin", ",".join(FILES), *"-e concise -d sums --composites composites --tracker lines".split()]
    small = "--optimizer climber --max_calls 200 -n mine --max_new_tokens 3 --dev_limit 3 --test_limit 2".split()
    words += ["-i", str(ROOT / "data/embedded/experts"), *small]
    assert front_doors.guarded(lambda: search_program(words)) == 0
    assert "test_best" in (tmp_path / "search/mine/tracked.jsonl").read_text()
    assert get_metric("capitals", least=0.1).score(["AB", "ab"], ["", ""]) == [1.0, 0.1]
    use_plugin_files(None)


def test_every_group_is_named():
    rows = re.findall(r"^\| ([\w, ]+) \|", PAGE, re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} - {"group"} == set(GROUPS)
    shown = re.findall(r'^\[project\.entry-points\."(\S+)"\]$', PAGE, re.MULTILINE)
    assert shown and {*shown} <= {group.entry_points for group in GROUPS.values() if group.asked_for}
    for group in GROUPS.values():
        assert (f"`{group.entry_points}`" in PAGE) == bool(group.asked_for)
