"""What the store of experts hands out is what `materialise` makes, whatever was asked for before."""

import pytest
import torch
from answers import answers_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_models, make_pool

from swarm.engines.base import GenerationParams, Request
from swarm.engines.local import expert_store
from swarm.engines.local.expert_store import ExpertStore
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.weights.full_model import FullWeights
from swarm.weights.materialise import linear_layout, materialise, new_buffers
from swarm.weights.pool import read_pool


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_pool(tmp_path_factory.mktemp("pool"))


def experts_of(pool, count=8):
    """Some experts, every third an initial one."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(count, len(pool.names), generator=generator, dtype=torch.float64).numpy()
    return [pool.experts()[i] if i < 3 else pool.expert(f"mixed {i}", rows[i]) for i in range(count)]


def equal(one, other):
    return one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(tensor.view(torch.int32), other.tensors[name].view(torch.int32))
        for name, tensor in one.tensors.items()
    )


@pytest.fixture
def calls(monkeypatch):
    """How many experts were made by each call."""
    made = []
    plain = expert_store.materialise_all

    def counted(pool, rows, *rest):
        made.append(len(rows))
        return plain(pool, rows, *rest)

    monkeypatch.setattr(expert_store, "materialise_all", counted)
    return made


@pytest.mark.parametrize("combine", ["linear", "exact", "svd"])
def test_whatever_is_asked_and_expected(directory, combine):
    pool = read_pool(directory, combine=combine)
    experts = experts_of(pool)
    alone = [materialise(pool, expert.coefficients) for expert in experts]
    size = sum(tensor.nbytes for tensor in alone[0].tensors.values())
    if combine == "linear":
        size = linear_layout(pool).size
    index = st.integers(0, len(experts) - 1)
    action = st.one_of(index, st.lists(index, max_size=8))

    @given(st.lists(action, max_size=20), st.integers(0, 10))
    @settings(max_examples=40, deadline=None)
    def check(actions, room):
        store = ExpertStore(pool, limit_bytes=room * size)
        for asked in actions:
            if isinstance(asked, list):
                store.expect([experts[i] for i in asked])
            else:
                assert equal(store.weights(experts[asked]), alone[asked])
            assert len(store._kept) <= max(room, 1)

    check()


def test_what_is_expected_is_made_together(directory, calls):
    pool = read_pool(directory)
    experts = experts_of(pool)
    store = ExpertStore(pool)
    store.expect(experts)
    for expert in [*experts, *experts[::-1]]:
        store.weights(expert)
    assert calls == [8]


def test_only_as_many_as_fit(directory, calls):
    pool = read_pool(directory)
    experts = experts_of(pool)
    store = ExpertStore(pool, limit_bytes=3 * linear_layout(pool).size)
    store.expect(experts)
    for expert in experts:
        store.weights(expert)
    assert calls == [3, 3, 2]
    store.weights(experts[-1])
    store.expect([experts[7], experts[0]])
    store.weights(experts[0])
    store.weights(experts[7])
    assert calls == [3, 3, 2, 1], "what is expected and there stays"


def test_memory_is_used_again(directory, monkeypatch):
    pool = read_pool(directory)
    experts, asked = experts_of(pool), []
    store = ExpertStore(pool, limit_bytes=2 * linear_layout(pool).size)
    monkeypatch.setattr(
        expert_store, "new_buffers", lambda pool, count: asked.append(count) or new_buffers(pool, count)
    )
    for expert in experts:
        store.weights(expert)
    assert sum(asked) == 2


def test_two_steps_of_a_search_are_held(directory, monkeypatch, calls):
    """From the third on, memory is used again; what stayed since the last step is there."""
    pool = read_pool(directory)
    rows = torch.randn(25, len(pool.names), generator=torch.Generator().manual_seed(2), dtype=torch.float64).numpy()
    steps = [[pool.expert(f"{first + i}", rows[first + i]) for i in range(5)] for first in range(0, 25, 5)]
    store, asked = ExpertStore(pool), []
    monkeypatch.setattr(
        expert_store, "new_buffers", lambda pool, count: asked.append(count) or new_buffers(pool, count)
    )
    for before, experts in zip([[], *steps], steps, strict=False):
        for wanted in (experts, [*before[:1], *experts]):
            store.expect(wanted)
            for expert in wanted:
                assert equal(store.weights(expert), materialise(pool, expert.coefficients))
    assert calls == [5] * 5
    assert sum(asked) == 12, "twice as many as were ever expected at once"


def test_a_failure_leaves_nothing_wrong_behind(directory, monkeypatch):
    pool = read_pool(directory)
    first, second = experts_of(pool)[3:5]
    store = ExpertStore(pool, limit_bytes=1)
    store.weights(first)
    plain = expert_store.materialise_all

    def half(*arguments):
        plain(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(expert_store, "materialise_all", half)
    with pytest.raises(KeyboardInterrupt):
        store.weights(second)
    monkeypatch.setattr(expert_store, "materialise_all", plain)
    for expert in (first, second):
        assert equal(store.weights(expert), materialise(pool, expert.coefficients))


def test_full_models_pass_through(tmp_path):
    pool = read_pool(make_models(tmp_path))
    store = ExpertStore(pool)
    store.expect(pool.experts())
    weights = store.weights(pool.experts()[1])
    assert isinstance(weights, FullWeights) and weights.coefficients == (0.0, 1.0, 0.0)


def test_an_engine_that_was_told_answers_the_same(directory, calls):
    pool = read_pool(directory)
    params = GenerationParams(max_new_tokens=4)
    requests = [Request(expert, "what is red", params) for expert in experts_of(pool)]
    engines = [InProcessEngine(pool, device="cpu") for _ in range(2)]
    del calls[:]
    engines[0].expect([request.member for request in requests])
    told, untold = ([completion.text for completion in answers_of(engine, requests)] for engine in engines)
    assert told == untold
    assert calls == [7] + [1] * 7, "the first one is there since the engine was made"
