"""The option reference and the schema of settings files in docs/ are those that the settings make."""

import re

import pytest
from repository import ROOT

from swarm.evolution.command_line import search_parser
from swarm.evolution.config import settings
from swarm.evolution.names import PAPER_CODE_DEFAULTS
from swarm.evolution.setting import UNUSED
from swarm.programs.option_pages import options_page, pages
from swarm.programs.parsers import baselines_parser, evaluate_parser
from swarm.programs.route.route import ROUTE

ROWS = [line.strip("| ").split(" | ") for line in options_page().splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("name", pages())
def test_the_pages_in_docs_are_current(name):
    there = (ROOT / "docs" / name).read_text(encoding="utf8")
    assert there == pages()[name], f"docs/{name} is not what the settings make: python scripts/make_docs.py"


def test_every_setting_has_a_row_of_its_own_that_says_what_it_is():
    rows = {row[0]: row for row in ROWS}
    for setting in settings().values():
        row = rows[" ".join(f"`{flag}`" for flag in setting.flags)]
        if setting.group == UNUSED:
            assert len(row) == 2
            continue
        _, value, _, taken, resume, results = row
        assert (resume == "yes", results == "yes") == (setting.resumable, setting.changes_results), setting.name
        assert taken == "all" or set(taken.split(", ")) == setting.used_by, setting.name
        assert setting.name not in PAPER_CODE_DEFAULTS or f"`{PAPER_CODE_DEFAULTS[setting.name]}`" in value


def test_every_option_of_these_commands_is_there_and_no_other():
    parsers = [search_parser(), evaluate_parser(), baselines_parser(), *map(ROUTE.step_parser, ROUTE.steps)]
    listed = set(re.findall(r"`(-[^` ]+)`", " ".join(row[0] + row[1] for row in ROWS)))
    for parser in parsers:
        assert {flag for action in parser._actions for flag in action.option_strings} - {"-h", "--help"} <= listed
    assert "--no-such-option" not in listed and all(len(row) in (2, 3, 6) for row in ROWS)


def test_what_markdown_would_read_as_its_own_is_escaped():
    assert "&lt;name&gt;.json" in options_page()
    assert not re.search(r"<(?!!--)", options_page())
