"""A composite as somebody else would ship it: the longest of its members' answers."""

from dataclasses import dataclass, replace

from swarm.engines.base import Completion
from swarm.members.composite import Composite, Relay, check_keys, member_names


def read_longest(folder, record, path):
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
