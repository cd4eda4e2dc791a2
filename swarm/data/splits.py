"""The splits dev and test: as a source has them, by a column, or drawn."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from swarm.data.records import check_text, no_column
from swarm.data.source import SPLITS, Source
from swarm.data.tables import Row, Table, show
from swarm.errors import UserError


def paired(where: str, tables: Mapping[str, Table], source: Source) -> dict[str, Table]:
    """dev and test out of a source that has splits of its own; one split for both is drawn from."""
    if len(tables) == 1:
        [table] = tables.values()
        return _draw(table, source)
    if source.dev_size is not None:
        cure = "drop it (--dev_limit keeps the first so many), or name one split for both with --splits"
        raise UserError(f"{where} has a dev and a test split, and --dev_size is for sources with one; {cure}")
    return {ours: tables[source.split(ours)] for ours in SPLITS}


def divide(table: Table, source: Source) -> dict[str, Table]:
    """dev and test out of one table: by its column of splits, else drawn."""
    column = source.columns.get("split", "split")
    if column not in table.columns():
        if "split" in source.columns and table.rows:
            raise no_column(table, "split", column)
        return _draw(table, source)
    if source.dev_size is not None:
        cure = "drop it, or rename the column"
        raise UserError(f"{table.where} has a column {show(column)}, and --dev_size is for tables without; {cure}")
    parts: dict[Any, list[Row]] = {}
    for row in table.rows:
        value = row.fields.get(column) if isinstance(row.fields, Mapping) else None
        check_text(f"{row.where}: {column}", value)
        parts.setdefault(value, []).append(row)
    for split in map(source.split, SPLITS):
        if split not in parts:
            cure = "say which are dev and test with --splits dev=NAME,test=NAME"
            there = ", ".join(map(show, parts))
            raise UserError(f"{table.where}: no row has {show(split)} as its {column}, only {there}; {cure}")
    return {ours: replace(table, rows=parts[source.split(ours)]) for ours in SPLITS}


def places_of_dev(records: int, size: int, seed: int) -> set[int]:
    """The places of the records that are drawn for dev; the others are test."""
    return set(np.random.default_rng(seed).permutation(records)[:size].tolist())


def _draw(table: Table, source: Source) -> dict[str, Table]:
    """dev drawn by the seed, test the others; both in the table's order."""
    size, rows = source.dev_size, len(table.rows)
    if rows < 2:
        raise UserError(f"{table.where} holds {rows} records, wanted some for dev and some for test; add more")
    if size is None:
        cure = 'add a column "split" with dev or test, or draw dev from the rows with --dev_size'
        raise UserError(f"{table.where}: one table of {rows} rows, wanted dev and test; {cure}")
    if not 0 < size < rows:
        raise UserError(f"--dev_size is {size}, wanted 1 to {rows - 1} of the {rows} rows of {table.where}; change it")
    drawn = places_of_dev(rows, size, source.seed)
    dev = [row for index, row in enumerate(table.rows) if index in drawn]
    test = [row for index, row in enumerate(table.rows) if index not in drawn]
    return {"dev": replace(table, rows=dev), "test": replace(table, rows=test)}
