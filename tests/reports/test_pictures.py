"""Pictures: no arrow through a box, no text beyond one, from the first step on, and no search ends for one."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from worlds import problem

from swarm.evolution.state import first_state
from swarm.evolution.steps import STEPS
from swarm.maths.decode import DecodeRule, decode
from swarm.reports import pictures
from swarm.reports.pictures import BackgroundPictures, draw_curves, graph_as_svg
from swarm.system.system import System, graph_of


def system_of(graph, names):
    members = tuple(type("Member", (), {"name": name, "digest": name})() for name in names)
    return System(graph, tuple(range(len(names))), members)


def drawn(n, seed, edges="bernoulli"):
    """A random system's figure, with its boxes, texts and lines as they come to lie, in pixels."""
    rng = np.random.default_rng(seed)
    graph = decode(rng.uniform(size=(n, n)) * (1 - np.eye(n)), rng=rng, rule=DecodeRule(edges=edges))
    names = [f"expert_{i}" if i % 3 else f"an_expert_with_quite_a_long_name_{i}_$x$" for i in range(n)]
    figure = pictures._graph(system_of(graph, names))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    [axes] = figure.axes
    boxes = [patch.get_window_extent() for patch in axes.patches]
    texts = [text.get_window_extent() for text in axes.texts if text.get_text()]
    lines = [axes.transData.transform(line.get_xydata()) for line in axes.lines]
    lines += [axes.transData.transform([text.xyann, text.xy]) for text in axes.texts if hasattr(text, "xyann")]
    return graph, boxes, texts, lines


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 20), st.integers(0, 1000), st.sampled_from(["tree", "bernoulli"]))
def test_no_arrow_goes_through_a_box_and_no_text_beyond_one(n, seed, edges):
    graph, boxes, texts, lines = drawn(n, seed, edges)
    assert len(boxes) == n == len(texts) - 1 and len(lines) >= graph.number_of_edges()
    for first in range(n):
        for second in range(first + 1, n):
            assert not boxes[first].padded(-1).overlaps(boxes[second].padded(-1))
    inside = [sum(box.padded(1).contains(*corner) for corner in text.corners()) == 4 for text in texts for box in boxes]
    assert sum(inside) == n, "every name is in its box, and the title in none"
    for line in lines:
        for start, end in pairwise(line):
            for step in np.linspace(0.02, 0.98, 25):
                x, y = start + (end - start) * step
                assert not any(box.padded(-2).contains(x, y) for box in boxes)


def test_names_are_written_as_they_are():
    svg = graph_as_svg(system_of(graph_of(2, [(0, 1)]), ["plain $x_1$", "other"]))
    assert svg.lstrip().startswith("<?xml") and "plain $x_1$" in svg


@pytest.fixture
def world():
    state, own = first_state(0), problem(max_iteration=1)
    return own, STEPS["start_role"](own, state)


def test_the_first_step_is_drawn_and_then_once_in_a_while(world, tmp_path):
    own, state = world
    drawing = BackgroundPictures(tmp_path)
    drawing.draw(own, state)
    drawing._writer.wait()
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"graph.png", "curves.png"} and all(content[:4] == b"\x89PNG" for content in first.values())
    for path in tmp_path.iterdir():
        path.unlink()
    after = STEPS["start_weight"](own, state)
    drawing.draw(own, after)
    drawing._writer.wait()
    assert not list(tmp_path.iterdir()), "not again within the minute"
    drawing.finish(own, after)
    assert len(list(tmp_path.iterdir())) == 2
    drawing.close()


def test_a_picture_that_cannot_be_written_ends_no_search(world, tmp_path, caplog):
    own, state = world
    (tmp_path / "graph.png").mkdir()
    drawing = BackgroundPictures(tmp_path)
    drawing.draw(own, state)
    drawing._writer.wait()
    drawing.finish(own, state)
    drawing.close()
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "graph.png" in warning and "goes on without pictures" in warning


def test_a_fault_in_drawing_ends_no_search(world, tmp_path, caplog, monkeypatch):
    own, state = world
    monkeypatch.setattr(pictures, "draw_graph", lambda *_: 1 / 0)
    drawing = BackgroundPictures(tmp_path)
    drawing.draw(own, state)
    drawing.finish(own, state)
    drawing.close()
    assert "ZeroDivisionError: division by zero; the search goes on without pictures" in caplog.text


def test_curves_of_every_stage(world, tmp_path):
    own, state = world
    draw_curves(state, tmp_path / "start.png")
    while state.next_step != "final":
        state = STEPS[state.next_step](own, state)
    draw_curves(state, tmp_path / "end.svg")
    text = (tmp_path / "end.svg").read_text()
    assert "best single member, alone" in text and (tmp_path / "start.png").stat().st_size > 1000
