"""Rows of JSON, JSONL, CSV and parquet files, each with its line or record number for messages.

A line of JSONL is a row, and a record of CSV with a header; both are counted as an editor counts lines, from 1.
Elements of JSON and rows of parquet are counted from 0.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from swarm.data.file_formats import kind_of, suffix_of, unpacked
from swarm.errors import UserError
from swarm.storage import files

_QUOTED = re.compile(r'"[^"]*"')
_SHOWN = 60  # characters of an offending value that a message shows

Kind = Literal["json", "text", "typed"]
"""How values are written: by a person in JSON; as text only (CSV); by a program in typed columns (parquet, hub)."""


@dataclass(frozen=True)
class Row:
    """One record.

    Attributes:
      where: its file and line or record number, as messages begin with.
      fields: column -> value if the file keeps its word; JSON may hold anything.
    """

    where: str
    fields: Any


@dataclass(frozen=True)
class Table:
    """Rows of one kind.

    Attributes:
      where: the file, and the part of it, as messages begin with.
    """

    where: str
    rows: list[Row]
    kind: Kind = "json"

    def columns(self) -> list[str]:
        """The columns that any row has, in the order of their first appearance."""
        return list(dict.fromkeys(key for row in self.rows if isinstance(row.fields, Mapping) for key in row.fields))


def read_table(path: Path, content: bytes) -> Table:
    """The rows of a table of this content: JSONL, CSV (by commas, semicolons or tabs), parquet.

    Raises UserError for what is not of the kind that the name says.
    """
    suffix = kind_of(path, content)
    if suffix == ".jsonl":
        return _jsonl(path, content)
    return _parquet(path, content) if suffix == ".parquet" else _csv(path, content)


def read_data_file(path: Path) -> bytes:
    """A file's content, unpacked; raises UserError if there is no such file, or it may not be read."""
    try:
        return unpacked(path, files.read_bytes(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a dataset file that exists") from error


def jsonl_rows(path: Path, cure: str = "name a dataset file that exists") -> Iterator[Row]:
    """The rows of a JSONL file one by one, as it may be larger than memory is; lines without any text are passed over.

    Raises UserError for a file that cannot be read (`cure` says what then), and for a line that is not JSON.
    """
    try:
        with files.open_bytes(path) as lines:
            for number, line in enumerate(lines, start=1):
                where = f"{path}: line {number}"
                if (text := as_text(where, line)).strip():
                    yield Row(where, parse_json(path, text, number))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {cure}") from error


def parse_json(where: str | Path, text: str, line: int = 1) -> Any:
    """What a JSON text says that begins at `line` of its file; raises UserError with line and column."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        position = f"line {error.lineno + line - 1}, column {error.colno}: {error.msg}"
        raise UserError(f"{where}: not valid JSON at {position}; mend the file there") from error
    except (ValueError, RecursionError) as error:  # a number too long, or brackets too deep, for Python to hold
        raise UserError(f"{where}: JSON that cannot be read ({error}); mend the file") from error


def as_text(where: str | Path, content: bytes) -> str:
    """UTF-8 decoded, or UTF-16 behind its byte-order mark, which is dropped; raises UserError for other bytes."""
    try:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return content.decode("utf-16")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: byte {error.start} is not UTF-8 text; save the file as UTF-8") from error


def show(value: Any) -> str:
    """A value as JSON writes it, on one line and not longer than a message can bear."""
    text = json.dumps(value, ensure_ascii=False, default=str).encode(errors="backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _jsonl(path: Path, content: bytes) -> Table:
    # not splitlines(): that also breaks at separators which may stand inside a JSON text
    lines = as_text(path, content).split("\n")
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    return Table(
        str(path), [Row(f"{path}: line {number}", parse_json(path, line, number)) for number, line in numbered]
    )


def _csv(path: Path, content: bytes) -> Table:
    csv.field_size_limit(max(len(content), csv.field_size_limit()))  # a cell may hold a whole paper
    text = as_text(path, content)
    delimiter = "\t" if suffix_of(path) == ".tsv" else _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    rows: list[Row] = []
    header: list[str] = []
    begins = 1
    try:
        for cells in reader:
            where, begins = f"{path}: line {begins}", reader.line_num + 1
            if not header:
                header = _header(where, cells)
            elif cells:
                rows.append(Row(where, _named(where, header, cells)))
    except csv.Error as error:
        cure = 'quote cells as "...", with "" for a quote in one, or write JSONL'
        raise UserError(f"{path}: line {reader.line_num} is not CSV ({error}); {cure}") from error
    return Table(str(path), rows, "text")


def _delimiter(text: str) -> str:
    """What parts the cells of a table's header: a comma, a semicolon or a tab."""
    header = _QUOTED.sub("", text.partition("\n")[0])
    return max(",;\t", key=header.count)


def _header(where: str, cells: list[str]) -> list[str]:
    twice = sorted({cell for cell in cells if cells.count(cell) > 1})
    if twice:
        raise UserError(f"{where}: the header has the column {show(twice[0])} more than once; rename one")
    return cells


def _named(where: str, header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header):
        cure = "quote cells that hold a comma or a line break"
        raise UserError(f"{where} has {len(cells)} cells, wanted {len(header)} as in the header; {cure}")
    return dict(zip(header, cells, strict=True))


def _read_parquet(pyarrow: Any, content: bytes) -> list[dict[str, Any]]:
    """The rows, read without threads of pyarrow's, which can abort a process that ends soon afterwards."""
    file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content), pre_buffer=False)
    rows: list[dict[str, Any]] = file.read(use_threads=False).to_pylist()
    return rows


def _parquet(path: Path, content: bytes) -> Table:
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError(f"{path}: pyarrow is needed to read parquet and is missing; pip install datasets") from error
    try:
        rows = _read_parquet(pyarrow, content)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: not parquet that can be read ({reason}); write the file again") from error
    return Table(str(path), [Row(f"{path}: row {index}", row) for index, row in enumerate(rows)], "typed")
