"""The documents tell the truth: what they say is tested is tested, and what they show runs."""

import json
import re
import shutil
from dataclasses import fields

import pytest
from repository import ROOT

from swarm.engines.base import GenerationParams
from swarm.evolution.command_line import search_parser
from swarm.members.member_kinds import NODE_TYPES
from swarm.programs import front_doors
from swarm.programs.search import search_program
from swarm.system.prompts import Query, node_prompt

COMPAT = (ROOT / "docs" / "compat.md").read_text(encoding="utf8")
README = (ROOT / "README.md").read_text(encoding="utf8")
DATA = (ROOT / "docs" / "data.md").read_text(encoding="utf8")
COMPOSITES = (ROOT / "docs" / "composites.md").read_text(encoding="utf8")
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


def test_node_prompts_are_shown_word_by_word():
    query = Query("QUESTION")
    assert f"```\n{node_prompt(query, [])}\n```" in DATA
    assert f"```\n{node_prompt(query, ['ANSWER', 'ANSWER'])}\n```" in DATA
    [heading] = [line.removeprefix("## ") for line in DATA.splitlines() if line.startswith("## How nodes")]
    assert f"docs/data.md#{heading.lower().replace(',', '').replace(' ', '-')})" in README
    settings = {field.name for field in fields(GenerationParams)}
    assert settings == {"max_new_tokens", "chat", "second_bos"}, "the documents say that nothing else can be set"


def test_every_type_of_composite_is_named_wherever_they_are_listed():
    paragraph = README.split("**Composites.**")[1].split("\n\n")[0]
    assert {name for name in NODE_TYPES if f"`{name}`" in paragraph} == set(NODE_TYPES)
    introduction = COMPOSITES.split("## ")[0]
    assert {name for name in NODE_TYPES if re.search(rf"[\[*]{name}[\]*]", introduction)} == set(NODE_TYPES)
    headings = set(re.findall(r"^## (\w+): ", COMPOSITES, re.MULTILINE))
    assert headings | {"router"} == set(NODE_TYPES), "routers have a page of their own"
    [listed] = re.findall(r"folder of composites \(([^)]*)\)", search_parser().format_help().replace("\n", " "))
    assert listed.split(", ") == list(NODE_TYPES)


def test_links_within_and_between_documents_lead_somewhere():
    for path in (ROOT / "docs").glob("*.md"):
        for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", path.read_text(encoding="utf8")):
            there = path.parent / target if target else path
            assert there.exists(), (path.name, target)
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf8"), re.MULTILINE) if anchor else []
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert not anchor or anchor in slugs, (path.name, anchor)
