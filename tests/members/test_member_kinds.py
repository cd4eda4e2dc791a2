"""Every kind of member is in one table, once, with who answers for it and how it travels."""

import importlib
import inspect
import pkgutil
from collections import Counter
from dataclasses import dataclass
from types import UnionType

import pytest

import swarm.members
from swarm.engines.wrapper import EngineWrapper
from swarm.members.composite import Relay
from swarm.members.member_kinds import MEMBER_KINDS, Sending, engine_around, kind_of, requested
from swarm.weights.pool import Expert


@dataclass(frozen=True)
class Stranger:
    name: str = "somebody"
    digest: str = "d"


def classes_below(base):
    found = set()
    for module in pkgutil.walk_packages(swarm.members.__path__, "swarm.members."):
        for _, one in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(one, base) and not inspect.isabstract(one):
                found.add(one)
    return found


def test_every_class_once():
    listed = Counter(one for kind in MEMBER_KINDS for one in kind.types)
    assert set(listed.values()) == {1}
    relays = {one for one in classes_below(Relay) if "kind" in vars(one)}
    of_relays = {kind for kind in MEMBER_KINDS for one in relays if issubclass(one, kind.types)}
    assert [kind.sending for kind in of_relays] == [Sending.NOT], "all that ask others, in one row"


def test_every_engine_answers_for_what_the_table_gives_it():
    wrappers = [one for one in classes_below(EngineWrapper) if "own" in vars(one)]
    own = [one.own.__args__ if isinstance(one.own, UnionType) else (one.own,) for one in wrappers]
    assert sorted(map(repr, own)) == sorted(repr(kind.types) for kind in MEMBER_KINDS if kind.engine)
    assert kind_of(Expert("one", (1.0,), "digest")).engine is None, "the experts' own"


def test_an_unknown_kind_is_an_error():
    with pytest.raises(TypeError, match="Stranger somebody is no kind of member; list it in swarm.members.member_kind"):
        kind_of(Stranger())
    with pytest.raises(TypeError, match="Stranger"):
        engine_around(None, [Stranger()], False)
    assert list(requested([Stranger()])) == [Stranger()]
