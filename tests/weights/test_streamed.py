"""Many sums in one pass: each the same to the bit, whatever else is summed and on however many threads."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_pool

from swarm.weights import streamed
from swarm.weights.adapters import factor_pairs
from swarm.weights.materialise import materialise, materialise_all, new_buffers, open_terms
from swarm.weights.pool import read_pool
from swarm.weights.streamed import Buffer, Terms, combine_rows, layout_of
from swarm.weights.tensors import combined

FORMATS = {"F32": torch.float32, "F64": torch.float64, "BF16": torch.bfloat16, "F16": torch.float16}


class Held:
    """Tensors in memory under the interface of an open file."""

    def __init__(self, tensors):
        self.get_tensor = tensors.__getitem__


def bits(tensor):
    return tensor.contiguous().view(torch.uint8)


def make_world(draw):
    """Initial tensors of n experts, with -0.0 among them, and rows with zeros and ones among the coefficients."""
    n = draw(st.integers(1, 6))
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=2))
    shapes = {"small": (tuple(lengths), draw(st.sampled_from(sorted(FORMATS))))}
    if draw(st.booleans()):
        shapes["large"] = ((draw(st.sampled_from([8192, 9001, 70_001])),), draw(st.sampled_from(["F32", "BF16"])))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    mapped = {
        name: [torch.randn(lengths, generator=generator).to(FORMATS[kind]) for _ in range(n)]
        for name, (lengths, kind) in shapes.items()
    }
    for tensors in mapped.values():
        for tensor in tensors:
            tensor.view(-1)[::5] = -0.0
    coefficient = st.one_of(st.sampled_from([0.0, 0.0, 1.0]), st.floats(-2, 2))
    rows = draw(st.lists(st.lists(coefficient, min_size=n, max_size=n), min_size=1, max_size=6))
    return shapes, mapped, rows


def sums(shapes, mapped, rows, buffers=None, terms=None):
    """Tensors of each row, in fresh buffers that hold rubbish."""
    layout = layout_of(shapes)
    if buffers is None:
        buffers = torch.full((len(rows), layout.size), 255, dtype=torch.uint8)
    experts = [Buffer(layout, memory) for memory in buffers]
    combine_rows(terms or Terms(mapped, layout), rows, experts)
    return [expert.tensors for expert in experts]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_bits_depend_on_the_row_alone(data):
    shapes, mapped, rows = make_world(data.draw)
    before = torch.get_num_threads()
    subset = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8))
    block = torch.empty(2 * len(subset) + 1, layout_of(shapes).size, dtype=torch.uint8)
    scattered = [block[index] for index in data.draw(st.permutations(range(len(block))))[: len(subset)]]
    try:
        torch.set_num_threads(1)
        single = [sums(shapes, mapped, [row])[0] for row in rows]
        torch.set_num_threads(data.draw(st.sampled_from([1, 2])))
        together = sums(shapes, mapped, rows)
        kept = Terms(mapped, layout_of(shapes), kept=True)
        sums(shapes, mapped, rows[:1], terms=kept)
        some = sums(shapes, mapped, [rows[index] for index in subset], scattered, kept)
    finally:
        torch.set_num_threads(before)
    for name in shapes:
        for index, row in enumerate(rows):
            assert torch.equal(bits(together[index][name]), bits(single[index][name]))
            if sum(map(bool, row)) == 1 and 1.0 in row:
                initial = mapped[name][row.index(1.0)].to(single[index][name].dtype)
                assert torch.equal(bits(single[index][name]), bits(initial)), "-0.0 included"
        for index, expert in zip(subset, some, strict=True):
            assert torch.equal(bits(expert[name]), bits(single[index][name]))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_same_numbers_as_one_sum_after_the_other(data):
    shapes, mapped, rows = make_world(data.draw)
    handles = [Held({name: tensors[j] for name, tensors in mapped.items()}) for j in range(len(rows[0]))]
    for row, expert in zip(rows, sums(shapes, mapped, rows), strict=True):
        for name, (lengths, _) in shapes.items():
            plain = combined(handles, row, name, lengths).to(expert[name].dtype)
            scale = sum(abs(factor) * tensor.abs().to(plain) for factor, tensor in zip(row, mapped[name], strict=True))
            assert ((expert[name] - plain).abs() <= 8 * torch.finfo(plain.dtype).eps * scale + 1e-30).all()


@pytest.mark.parametrize("kind", ["F32", "F64", "BF16"])
@pytest.mark.parametrize("threads", [1, 2])
def test_tensors_over_several_blocks(monkeypatch, kind, threads):
    """Wherever blocks end, and beside however many sums, which decide how long they are."""
    generator = torch.Generator().manual_seed(3)
    shapes = {name: ((count,), kind) for name, count in {"a": 30_011, "b": 5, "c": 16 * 384, "d": 70_003}.items()}
    mapped = {
        name: [torch.randn(lengths, generator=generator).to(FORMATS[kind]) for _ in range(5)]
        for name, (lengths, _) in shapes.items()
    }
    rows = [*torch.randn(12, 5, generator=generator).tolist(), [0.0, 1.0, 0.0, 0.0, 0.0], [0.0] * 5]
    alone = [sums(shapes, mapped, [row])[0] for row in rows]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for size in (1, 2**19, 2**24):
            monkeypatch.setattr(streamed, "BLOCK_BYTES", size)
            kept = Terms(mapped, layout_of(shapes), kept=True)
            for order in (range(14), range(13, -1, -1), [3], [12, 3, 13]):
                asked = [rows[index] for index in order]
                some = sums(shapes, mapped, asked)
                again = sums(shapes, mapped, asked, terms=kept)
                for index, *experts in zip(order, some, again, strict=True):
                    for name in shapes:
                        assert all(torch.equal(bits(each[name]), bits(alone[index][name])) for each in experts)
    finally:
        torch.set_num_threads(before)


def test_numbers_of_both_widths():
    """What lies beside what, in one buffer, does not matter."""
    shapes = {"a": ((7,), "F64"), "b": ((3, 5), "F32"), "c": ((1,), "F64"), "d": ((2,), "BF16")}
    generator = torch.Generator().manual_seed(4)
    mapped = {
        name: [torch.randn(lengths, generator=generator).to(FORMATS[kind]) for _ in range(3)]
        for name, (lengths, kind) in shapes.items()
    }
    rows = [[0.5, -2.0, 0.25], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    for row, expert in zip(rows, sums(shapes, mapped, rows), strict=True):
        for name, (lengths, kind) in shapes.items():
            assert expert[name].shape == lengths
            assert expert[name].dtype == (torch.float64 if kind == "F64" else torch.float32)
            exact = sum(factor * tensor.double() for factor, tensor in zip(row, mapped[name], strict=True))
            assert torch.allclose(expert[name].double(), exact, rtol=1e-5, atol=1e-6)


def test_what_nobody_needs_is_not_read():
    """Neither its numbers nor its sign of zero come in."""
    mapped = {"w": [torch.ones(3), torch.full((3,), float("nan")), torch.tensor([-0.0, 2.0, 0.0])]}
    (first, second) = sums({"w": ((3,), "F32")}, mapped, [[0.5, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert first["w"].tolist() == [0.5, 0.5, 0.5]
    assert torch.equal(bits(second["w"]), bits(mapped["w"][2]))


@pytest.mark.parametrize("combine", ["linear", "exact", "svd"])
@pytest.mark.parametrize("threads", [1, 2])
def test_experts_of_a_pool_together(tmp_path, combine, threads):
    pool = read_pool(make_pool(tmp_path), combine=combine)
    rows = [[0.7, -0.2, 0.4], [0.0, 1.0, 0.0], [0.1, 0.0, 0.2], [0.0, 0.0, 0.0]]
    alone = [materialise(pool, row) for row in rows]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    together = materialise_all(pool, rows, None, open_terms(pool))
    torch.set_num_threads(before)
    for one, other in zip(alone, together, strict=True):
        assert one.config == other.config
        assert one.tensors.keys() == other.tensors.keys() == pool.adapters[0].shapes.keys()
        assert all(torch.equal(bits(one.tensors[name]), bits(other.tensors[name])) for name in one.tensors)


def test_buffers_are_used_again(tmp_path):
    pool = read_pool(make_pool(tmp_path))
    buffers = new_buffers(pool, 2)
    materialise_all(pool, [[1.0, 2.0, 3.0], [0.5, 0.5, 0.5]], buffers)
    (again,) = materialise_all(pool, [[0.0, 1.0, 0.0]], buffers[1:])
    initial = pool.adapters[1].open()
    for name, tensor in again.tensors.items():
        assert torch.equal(tensor, initial.get_tensor(name))
        assert tensor.untyped_storage().data_ptr() == buffers[0].memory.untyped_storage().data_ptr()
        assert tensor.data_ptr() % 64 == 0
    assert sorted(again.tensors) == sorted(n for pair in factor_pairs(again.tensors).values() for n in pair)
