"""Steps with many options say which of them plain --help lists."""

from importlib import import_module

import pytest

from swarm.programs.deepen.deepen import DEEPEN
from swarm.programs.route.route import ROUTE

DOZEN = 12
STEPS = [(program, name) for program in (DEEPEN, ROUTE) for name in program.steps]


@pytest.mark.parametrize(("program", "name"), STEPS, ids=lambda one: getattr(one, "name", one))
def test_a_dozen_at_most_each_of_which_there_is(program, name):
    parser = program.step_parser(name)
    module = import_module(f"{program.package}.{program.steps[name].module}")
    options = [one for one in parser._actions if one.option_strings and one.dest != "help"]
    shown = getattr(module, "SHOWN", tuple(one.dest for one in options))
    assert len(shown) == len(set(shown)) <= DOZEN
    assert set(shown) <= {one.dest for one in options}
    assert {one.dest for one in options if one.required} <= set(shown), "without which the step does not start"
