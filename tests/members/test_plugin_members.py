"""Composites of plugins: read by their type, asked like others, known by their members, and named when they fail."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import make_pool

from swarm.engines.base import GenerationParams, Request
from swarm.engines.scripted import ScriptedEngine
from swarm.errors import UserError
from swarm.members.member_kinds import Sending, kind_of
from swarm.members.members import read_members
from swarm.members.relaying import first_requests
from swarm.plugins import use_plugin_files
from swarm.system.prompts import Query
from swarm.system.scheduler import Scheduler
from swarm.system.system import single
from swarm.workers.ray_worker import setup

PARAMS = GenerationParams(4)
LONGEST = """
from dataclasses import dataclass, replace
from swarm.engines.base import Completion
from swarm.members.composite import Composite, Relay, check_keys, member_names
from swarm.plugins import register

@register("members", "longest")
def read(folder, record, path):
    check_keys(path, record, ("type", "members"))
    return LongestNode(folder.name, folder, record, member_names(path, record))

class LongestNode(Composite):
    def with_members(self, members):
        return Longest(self.name, "", tuple(members[name] for name in self.members))

@dataclass(frozen=True)
class Longest(Relay):
    kind = "longest"

    def pass_on(self, requests):
        return [[replace(request, member=member) for member in self.members] for request in requests]

    def go_on(self, request, stages):
        return Completion(max((answer.text for answer in stages[0]), key=len), 0, 0)
"""


@pytest.fixture
def pool(tmp_path):
    """A tiny pool with a composite of type longest over its first two experts; gives its folder."""
    root = make_pool(tmp_path / "pool")
    (root / "chosen").mkdir()
    (root / "chosen" / "node.json").write_text(json.dumps({"type": "longest", "members": ["expert_0", "expert_1"]}))
    yield root
    use_plugin_files(None)


def test_it_answers_out_of_its_members_answers(pool, use_plugin):
    use_plugin(LONGEST)
    members = read_members(pool)
    chosen = members.initial()[-1]
    assert kind_of(chosen).sending is Sending.NOT and chosen.name == "chosen"
    scheduler = Scheduler(ScriptedEngine(lambda request: "yes" + "!" * int(request.member.name[-1])))
    assert scheduler.answer_all([(single(chosen), [Query("Well?")])], PARAMS) == [["yes!"]]


def test_two_of_different_members_are_never_taken_for_the_same(pool, use_plugin):
    """Although the plugin says nothing of them in its digest."""
    use_plugin(LONGEST)
    members = read_members(pool)
    moved = members.at(members.pool.names, np.roll(np.eye(3), 1, axis=0))
    digests = [members.initial()[-1].digest, moved[-1].digest]
    other = replace(members.composites[0], record={"type": "longest", "members": [], "x": 1})
    digests.append(replace(members, composites=(other,)).initial()[-1].digest)
    assert len(set(digests)) == 3 and digests[0] == read_members(pool).initial()[-1].digest


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"members", "longest"', '"members", "other"', "type is 'longest'; wanted one of: vote, .*, blend, other; a"),
        ("    check_keys(", "    folder / 1; check_keys(", r"'longest' of \S+ line 7 raised TypeError: .*.py, line 9"),
        ("return LongestNode(", "return (", "member 'longest' of .* gave tuple; wanted a swarm.mem"),
        (
            "    def with_m",
            "    def generations(self, of): return of['x']\n    def with_m",
            r"'longest' .* raised KeyError: 'x'",
        ),
        (
            "    def with_m",
            "    models = property(lambda self: self.no)\n    def with_m",
            "'longest' .* raised AttributeErr",
        ),
        ("return Longest(self.name", "return Composite(self.name", "composite chosen raised TypeError: .*line 14"),
        ("return Longest(", "return (", r"with_members of LongestNode gave tuple; wanted a swarm\S+Relay"),
        ("        return [[replace", "        1 / 0; [[replace", r"chosen \(longest\) raised ZeroDivision.*line 21"),
        ("        return [[replace", "        [[replace", "pass_on gave NoneType for 1 requests; wanted a list"),
        ("for member in self.members]", "for member in ()]", "pass_on gave a list of 1 for 1 requests; wanted a list"),
    ],
)
def test_what_goes_wrong_in_it_is_named(pool, use_plugin, old, new, message):
    use_plugin(LONGEST)  # what is refused later is not refused because of the file
    assert old in LONGEST
    use_plugin(LONGEST.replace(old, new))
    with pytest.raises(UserError, match=message) as refused:
        chosen = read_members(pool).initial()[-1]
        first_requests(chosen, [Request(chosen, "p", PARAMS)])
    assert "\n" not in str(refused.value)


def test_a_type_of_our_own_is_nobody_else_s(pool, use_plugin):
    use_plugin(LONGEST.replace('"members", "longest"', '"members", "vote"'))
    (pool / "chosen" / "node.json").write_text(json.dumps({"type": "vote", "members": ["expert_0", "expert_1"]}))
    with pytest.raises(UserError, match="member 'vote' is there 2 times, from this program and from .*.py, line 7"):
        read_members(pool)


def test_a_cluster_is_not_sent_it(pool, use_plugin):
    use_plugin(LONGEST)
    with pytest.raises(UserError, match=r"composite chosen is a plugin's \(h_swarm_plugin_\w+\), which the machines"):
        setup(read_members(pool), lambda members, device: None, "cpu")
