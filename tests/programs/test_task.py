"""Reading the task: contexts in parts, and what nodes are given of them."""

import logging

import pytest

from swarm.data.example import Dataset, Example
from swarm.errors import UserError
from swarm.evolution.checked_config import make_config
from swarm.programs.task import fit_chunks


def config(**settings):
    return make_config({"eval_type": "exact_match", "dataset": "papers"} | settings)


def papers(*sizes):
    examples = tuple(Example("q", "a", chunks=tuple(f"c{i}" for i in range(size))) for size in sizes)
    return Dataset("papers", examples, examples[:1])


def test_as_many_chunks_as_nodes_are_left_alone(caplog):
    dataset = papers(4, 4)
    for settings in ({}, {"compat": "paper-code"}):
        assert fit_chunks(dataset, 4, config(**settings)) is dataset
    assert not caplog.records


def test_fewer_chunks_than_nodes_are_refused_unless_they_may_be_shared():
    with pytest.raises(UserError, match="papers: dev record 1 has 3 context_chunks for 4 nodes.*--share_chunks 1"):
        fit_chunks(papers(4, 3), 4, config())
    dataset = papers(4, 3)
    assert fit_chunks(dataset, 4, config(share_chunks=True)) is dataset


def test_more_chunks_than_nodes_are_all_read_by_us_and_dropped_by_the_published_program(caplog):
    dataset = papers(6, 4)
    with caplog.at_level(logging.INFO):
        assert fit_chunks(dataset, 4, config()) is dataset
        kept = fit_chunks(dataset, 4, config(compat="paper-code"))
    assert [example.chunks for example in kept.dev] == [("c0", "c1", "c2", "c3")] * 2
    assert [example.chunks for example in kept.test] == [("c0", "c1", "c2", "c3")]
    assert "2 contexts have more than 4 chunks: nodes read several in a row" in caplog.text
    assert "those beyond are not read (paper-code)" in caplog.text


def test_questions_without_context_need_no_chunks():
    dataset = papers(0, 0)
    assert fit_chunks(dataset, 9, config()) is dataset
