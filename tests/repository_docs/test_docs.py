"""The documents tell the truth: what they say is tested is tested, and what they show runs."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import fields

import pytest
import yaml
from repository import ROOT

from swarm.engines.base import GenerationParams
from swarm.engines.overrides import NAMES
from swarm.engines.sampling import Sampling
from swarm.evolution.command_line import search_parser
from swarm.members.member_kinds import NODE_TYPES
from swarm.programs import front_doors
from swarm.programs.search import search_program
from swarm.system.instructions import PUBLISHED
from swarm.system.prompts import Query, node_prompt

COMPAT = (ROOT / "docs" / "compat.md").read_text(encoding="utf8")
EXPERTS = (ROOT / "docs" / "own_experts.md").read_text(encoding="utf8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text(encoding="utf8")
FIRST = (ROOT / "docs" / "first_search.md").read_text(encoding="utf8")
DATA = (ROOT / "docs" / "data.md").read_text(encoding="utf8")
INSTRUCTIONS = (ROOT / "docs/instructions.md").read_text(encoding="utf8")
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
    settings = {field.name for field in fields(GenerationParams)}
    assert settings == {"max_new_tokens", "chat", "second_bos", *NAMES}, "the documents say what can be set"
    said = " ".join(DATA.split())
    assert all(f"--{name} " in said and f'"{name}": ' in said for name in NAMES)
    assert all(f"{field.name}=" in DATA or f"`{field.name}`" in DATA for field in fields(Sampling))
    published = re.findall(r"\| `(first|later|response|context|example)` \|.*\| `(.*)` \|", INSTRUCTIONS)
    assert {name: text.replace("\\n", "\n") for name, text in published} == {
        name: getattr(PUBLISHED, name) for name in ("first", "later", "response", "context", "example")
    }


def test_every_type_of_composite_is_named_wherever_they_are_listed():
    paragraph = EXPERTS.split("**Composites.**")[1].split("\n\n")[0]
    assert {name for name in NODE_TYPES if f"`{name}`" in paragraph} == set(NODE_TYPES)
    introduction = COMPOSITES.split("## ")[0]
    assert {name for name in NODE_TYPES if re.search(rf"[\[*]{name}[\]*]", introduction)} == set(NODE_TYPES)
    headings = set(re.findall(r"^## (\w+): ", COMPOSITES, re.MULTILINE))
    assert headings | {"router"} == set(NODE_TYPES), "routers have a page of their own"
    [listed] = re.findall(
        r"folder of composites \(([^)]*)\)", " ".join(search_parser().format_help(everything=True).split())
    )
    assert listed.split(", ") == list(NODE_TYPES)


def test_the_settings_file_that_is_shown_is_the_one_that_is_there():
    assert f"```yaml\n{(ROOT / 'docs/graph_tasks.yml').read_text(encoding='utf8')}```" in SETTINGS


def test_the_picture_is_of_the_run_whose_output_is_shown():
    graph = FIRST.split("    the found system:\n")[1].split("\n\n")[0]
    picture = (ROOT / "docs/images/found_graph.svg").read_text(encoding="utf8")
    drawn = re.findall(r"<!-- (role \d) -->.*?<!-- ([\w@]+) -->", picture, re.DOTALL)
    assert sorted(drawn) == sorted(set(re.findall(r"(role \d): ([\w@]+)", graph))) and len(drawn) == 9


def test_results_are_the_same_wherever_they_are_shown():
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    table = readme.split("| right answers on test |")[1].split("\n\n")[0]
    printed = readme.split("    strict score ")[1].split("\n\n")[0]
    assert table in FIRST and printed in FIRST


def test_every_page_is_in_the_menu_of_the_site():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf8"))["nav"]
    entries = [entry for section in nav for pages in section.values() for entry in pages]
    listed = [next(iter(entry.values())) if isinstance(entry, dict) else entry for entry in entries]
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def test_a_site_with_a_broken_link_or_anchor_is_not_built(tmp_path):
    """What scripts/test.sh relies on; that the docs have none is its own step. (With --quiet it would be built.)"""
    assert "mkdocs build --strict  #" in (ROOT / "scripts/test.sh").read_text(encoding="utf8")
    pytest.importorskip("material", reason="extra docs")
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf8")) | {"nav": [{"Start": ["index.md"]}]}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(settings))
    (tmp_path / "docs").mkdir()
    for text, code, said in (
        ("# Start\n\n[here](#start)\n", 0, ""),
        ("# Start\n\n[there](nowhere.md)\n", 1, "nowhere.md"),
        ("# Start\n\n[there](#nowhere)\n", 1, "#nowhere"),
    ):
        (tmp_path / "docs/index.md").write_text(text)
        command = [sys.executable, "-m", "mkdocs", "build", "--strict"]  # as in scripts/test.sh
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == code and said in done.stdout + done.stderr, done.stderr
    page = (tmp_path / "build/site/index.html").read_text(encoding="utf8")
    asked = re.findall(r"<(?:link|script|img)[^>]*(?:href|src)=\"?(https?:[^ >\"]*)", page)
    assert not asked, "the page asks other hosts"


def test_links_within_and_between_documents_lead_somewhere():
    pages = [
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "swarm/README.md")),
    ]
    for path in pages:
        for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", path.read_text(encoding="utf8")):
            there = path.parent / target if target else path
            assert there.exists(), (path.name, target)
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf8"), re.MULTILINE) if anchor else []
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert not anchor or anchor in slugs, (path.name, anchor)
