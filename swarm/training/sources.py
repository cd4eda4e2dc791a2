"""Where the rows of a source are: a file, a folder or a set of the hub, each row with its place for messages."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swarm.data.file_formats import SUFFIXES, kind_of, stem_of, suffix_of
from swarm.data.hub import explained, is_hub_id
from swarm.data.load import generation_settings
from swarm.data.records import check_text
from swarm.data.tables import Kind, Row, as_text, jsonl_rows, parse_json, read_data_file, read_table, show
from swarm.errors import UserError
from swarm.training.recipe import DataSource

MIX_INSTRUCT = "llm-blender/mix-instruct"
MIX_SPLITS = {"train": "train", "validation": "val", "test": "test"}  # ours -> how its files' names begin
_ORIGINAL, _USUAL = "dev", "train"  # splits that are taken where none is named


@dataclass(frozen=True)
class SourceRows:
    """The rows of a source, which can be read once.

    Attributes:
      name: the dataset's, by which those with special treatment are known.
      split: which part of it the rows are; "" for a file that has none.
      prefix: what the file puts in front of every question (`icl_prompt`), or "".
      kind: how values are written.
      generation: settings that the file itself asks for.
    """

    name: str
    split: str
    rows: Iterable[Row]
    prefix: str = ""
    kind: Kind = "json"
    generation: Mapping[str, int | bool] = field(default_factory=dict)


def open_source(place: str, source: DataSource) -> SourceRows:
    """The rows that a source of a recipe means; lines of .jsonl are read one by one.

    Raises UserError if there is no such file, folder, set or split, or if the file is not what its name says.
    """
    path = Path(source.source)
    if suffix_of(path) or path.exists():
        for field in ("config", "revision"):
            if getattr(source, field) is not None:
                raise UserError(f"{place}: {field} is for sets of the hub, and {path} is a file or folder: drop it")
        return _folder(place, path, source) if path.is_dir() else _file(place, path, source)
    if not is_hub_id(source.source):
        wanted = f"a {', '.join(SUFFIXES)} file, a folder or a hub id owner/name"
        raise UserError(f"{place}: no {source.source} is there, wanted {wanted}: correct the name, or bring it")
    if source.source == MIX_INSTRUCT:
        return _mix_instruct(place, source)
    return _hub(place, source)


def _file(place: str, path: Path, source: DataSource) -> SourceRows:
    if not path.is_file():
        raise UserError(f"{place}: {path} is no file that is there: correct the name, or bring it")
    large = path.suffix.lower() == ".jsonl"  # its lines are read one by one
    content = b"" if large else read_data_file(path)
    if not large and kind_of(path, content) == ".json":
        return _json(place, path, content, source)
    if source.split is not None:
        raise UserError(f"{place}: {path} has no splits, but split is {source.split}: drop it, or name another file")
    if large:
        return SourceRows(path.stem, "", jsonl_rows(path))
    table = read_table(path, content)
    return SourceRows(stem_of(path), "", table.rows, kind=table.kind)


def _json(place: str, path: Path, content: bytes, source: DataSource) -> SourceRows:
    """A list of records, or the published program's {"dev": [...], "test": [...]}."""
    raw = parse_json(path, as_text(path, content))
    if isinstance(raw, list):
        if source.split is not None:
            raise UserError(f"{place}: {path} is a list without splits, but split is {source.split}: drop it")
        return SourceRows(path.stem, "", [Row(f"{path}: record {number}", record) for number, record in enumerate(raw)])
    if not isinstance(raw, Mapping):
        raise UserError(f'{path} is {show(raw)}, wanted a list of records or {{"dev": [...]}}: mend the file')
    split, there = source.split or _ORIGINAL, [key for key, value in raw.items() if isinstance(value, list)]
    if split not in there:
        raise UserError(f"{place}: {path} has no split {split}, only {', '.join(there) or 'none'}: name one as split")
    prefix = raw.get("icl_prompt", "")
    check_text(f"{path}: icl_prompt", prefix)
    rows = [Row(f"{path}: {split} record {number}", record) for number, record in enumerate(raw[split])]
    return SourceRows(
        path.stem, split, rows, prefix, generation=generation_settings(str(path), raw.get("generation", {}))
    )


def _folder(place: str, folder: Path, source: DataSource) -> SourceRows:
    split = source.split or _USUAL
    files = [file for file in sorted(folder.iterdir()) if suffix_of(file) and stem_of(file) == split]
    if len(files) != 1:
        there = ", ".join(file.name for file in sorted(folder.iterdir()) if suffix_of(file))
        many = "no" if not files else "more than one"
        wanted = f"{split}{' or '.join(SUFFIXES)}"
        raise UserError(f"{place}: {folder} has {many} {wanted}, only {there or 'others'}: name another split")
    return replace(_file(place, files[0], replace(source, split=None)), name=folder.resolve().name, split=split)


def _mix_instruct(place: str, source: DataSource) -> SourceRows:
    """The set's own file, since a library that gives all its records the same fields cannot read it."""
    split = source.split or _USUAL
    if split not in MIX_SPLITS:
        raise UserError(f"{place}: {MIX_INSTRUCT} has no split {split}, only {', '.join(MIX_SPLITS)}: name one of them")
    from huggingface_hub import hf_hub_download

    with in_recipe_words(place, MIX_INSTRUCT):
        name = f"{MIX_SPLITS[split]}_data_prepared.jsonl"
        file = Path(hf_hub_download(MIX_INSTRUCT, name, repo_type="dataset", revision=source.revision))
    return SourceRows("mix-instruct", split, jsonl_rows(file))


def _hub(place: str, source: DataSource) -> SourceRows:
    split = source.split or _USUAL
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{place}: the library datasets is needed and missing: pip install datasets") from error
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    with in_recipe_words(place, source.source):
        builder = datasets.load_dataset_builder(source.source, name=source.config, revision=source.revision)
        cached = "packaged_modules.cache" in type(builder).__module__
        if cached and source.revision not in (None, builder.hash):  # the library itself would take what it has
            raise UserError(
                f"{source.source}: revision {source.revision} cannot be asked for, and the cache holds {builder.hash}: "
                "allow the network, or name that"
            )
        builder.download_and_prepare()
        there = list(builder.info.splits or {})
        if split not in there:
            raise UserError(f"{source.source} has no split {split}, only {', '.join(there) or 'none'}: name one")
        table: Any = builder.as_dataset(split=split)
    rows = (Row(f"{source.source}: {split} row {number}", row) for number, row in enumerate(table))
    return SourceRows(source.source.rpartition("/")[2], split, rows, kind="typed")


@contextmanager
def in_recipe_words(place: str, dataset: str) -> Iterator[None]:
    """What the hub's clients raise becomes a UserError that names the recipe's keys where others have options."""
    try:
        with explained(dataset):
            yield
    except UserError as error:
        text = str(error).replace("--hub_config", "config").replace("--data_revision", "revision:")
        raise UserError(f"{place}: {text}") from error
