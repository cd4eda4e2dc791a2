"""Loading of datasets: a file, a folder, a set of the hub or a plugin's becomes a checked `Dataset`.

A record is `{question, answer, choices?, id?, domain?, context_chunks?}`; other fields are left alone, and columns of
other names are mapped. Text stays as it is in the source unless it is to be mended, so a backslash followed by an n in
a question remains those two characters, as in the published program.

What is wrong is said here, before anything is loaded or generated, in one line that names where: file, split,
record and field.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from swarm.data.embedded import QUESTIONS, embedded_questions
from swarm.data.example import Dataset, Example
from swarm.data.faults import mend_and_warn
from swarm.data.file_formats import SUFFIXES, kind_of, stem_of, suffix_of
from swarm.data.hub import is_hub_id, read_hub
from swarm.data.lm_eval_data import is_lm_eval, lm_eval_dataset
from swarm.data.published import PUBLISHED
from swarm.data.records import check_text, examples
from swarm.data.shapes import in_our_fields
from swarm.data.source import DIRECTORY, SPLITS, Source
from swarm.data.splits import divide, paired
from swarm.data.tables import Row, Table, as_text, parse_json, read_data_file, read_table, show
from swarm.engines.overrides import NAMES, overrides_of
from swarm.errors import UserError
from swarm.plugins import HINT, Plugin, faults_named, find_plugin, names_in


def load_dataset(source: str | Source, directory: str | Path = DIRECTORY) -> Dataset:
    """The checked dataset of a source; a str is its `dataset`, with names looked up in `directory`.

    Its digest is that of the file's bytes. For folders and hub sets, and where examples are mapped, drawn or mended, it
    is that of the examples as canonical JSON: equal digests mean equal examples. Faults that need no refusal are
    logged, one warning each.

    Raises:
      UserError: there is no such dataset, or what is there does not hold one.
    """
    if isinstance(source, str):
        source = Source(source, str(directory))
    if is_lm_eval(source.dataset):
        return _with_own_digest(mend_and_warn(lm_eval_dataset(source.dataset, source.dev_size, source.seed)))
    found = _locate(source)
    if found is None:
        dataset = _from_hub(source)
    elif isinstance(found, Plugin):
        dataset = _of_plugin(found, source)
    elif found.is_dir():
        dataset = _from_folder(found, source)
    else:
        dataset = parse_dataset(found, read_data_file(found), source)
    dataset = mend_and_warn(dataset, source.mend)
    return dataset if dataset.digest and source.changes_nothing else _with_own_digest(dataset)


def parse_dataset(path: Path, content: bytes, source: Source | None = None) -> Dataset:
    """The checked dataset that a file of this content at this path holds; the file itself is not looked at.

    Raises UserError as load_dataset does.
    """
    source, name = source or Source(str(path)), stem_of(path)
    if kind_of(path, content) == ".json":
        dataset = _from_json(str(path), name, parse_json(path, as_text(path, content)), source)
    else:
        dataset = _dataset(name, divide(read_table(path, content), source), source)
    return replace(dataset, digest=hashlib.sha256(content).hexdigest())


def limit(dataset: Dataset, dev_limit: int | None = None, test_limit: int | None = None) -> Dataset:
    """The dataset with the first `dev_limit` and `test_limit` examples only; None keeps all of a split.

    The digest stays: it is the file's.
    """
    for split, count in (("dev", dev_limit), ("test", test_limit)):
        if count is not None and count < 1:
            raise UserError(f"the limit of the {split} split is {count}; give at least 1, or none to keep all of it")
    return replace(dataset, dev=dataset.dev[:dev_limit], test=dataset.test[:test_limit])


def _locate(source: Source) -> Path | Plugin | None:
    """The file, folder or plugin that the source names; None if it names a set of the hub."""
    given, directory = source.dataset, Path(source.directory)
    found: Path | Plugin | None
    if suffix_of(Path(given)):
        found = Path(given)
    else:
        files = {file.stem: file for file in sorted(directory.glob("*.json"))}
        found = files.get(given) or (Path(given) if Path(given).exists() else None)
        found = found or find_plugin("datasets", given, (QUESTIONS,))
        if found is None and given == QUESTIONS:
            found = embedded_questions()
        if found is None and not is_hub_id(given):
            there = f"it holds {', '.join(files)}" if files else "it holds no .json file, or is not a folder"
            there += "".join(f", and {name} is a plugin's" for name in names_in("datasets"))
            cure = f"give one of the names there, the path of a {', '.join(SUFFIXES)} file or a folder, or a hub id"
            cure += f"; {HINT}"
            if given in PUBLISHED:
                cure = f"bring it: h-swarm data get {given}"
            raise UserError(f"no dataset {show(given)} in {directory}: {there}; {cure}")
    if found is not None and (source.hub_config or source.revision):
        what = f"dataset {given} is a plugin's" if isinstance(found, Plugin) else f"{found} is a file or folder"
        raise UserError(f"{what}, and --hub_config and --data_revision are for hub sets; drop them")
    return found


def _from_hub(source: Source) -> Dataset:
    """The dataset made of a set of the hub."""
    wanted = list(dict.fromkeys(map(source.split, SPLITS)))
    tables = read_hub(source.dataset, wanted, source.hub_config, source.revision)
    return _dataset(source.dataset.rpartition("/")[2], paired(source.dataset, tables, source), source)


def _from_folder(folder: Path, source: Source) -> Dataset:
    """The dataset made of a folder with a file for each split."""
    tables = {}
    for split in dict.fromkeys(map(source.split, SPLITS)):
        files = [file for file in sorted(folder.glob("*.*")) if _is_split_file(file) and stem_of(file) == split]
        if len(files) != 1:
            there = ", ".join(file.name for file in sorted(folder.glob("*.*")) if _is_split_file(file))
            how_many = "no" if not files else "more than one"
            cure = "leave one, or say which are dev and test with --splits dev=NAME,test=NAME"
            raise UserError(f"{folder}: {how_many} file {split}.json, .jsonl, .csv or .parquet, only "
                            f"{there or 'others'}; {cure}")  # fmt: skip
        tables[split] = file_table(files[0])
    return _dataset(folder.resolve().name, paired(str(folder), tables, source), source)


def _is_split_file(file: Path) -> bool:
    return suffix_of(file) != "" and not file.name.startswith(".")


def file_table(file: Path) -> Table:
    """The rows of one file: a table, or a list of records in JSON. Raises UserError for what is neither."""
    content = read_data_file(file)
    if kind_of(file, content) != ".json":
        return read_table(file, content)
    raw = parse_json(file, as_text(file, content))
    if not isinstance(raw, list):
        raise UserError(f"{file} is {show(raw)}, wanted a list of records; put them into [...]")
    return _elements(str(file), f"{file}: record", raw)


def _elements(where: str, each: str, records: list[Any]) -> Table:
    return Table(where, [Row(f"{each} {index}", record) for index, record in enumerate(records)])


def _of_plugin(plugin: Plugin, source: Source) -> Dataset:
    """The dataset that a plugin's function gives, read as if a JSON file held it, so that its faults are named."""
    where, make = f"dataset {plugin.name!r} of {plugin.source}", plugin.load()
    with faults_named(where, make):
        raw = make()
        if isinstance(raw, Dataset):
            raw = {"icl_prompt": raw.prefix, "generation": dict(raw.generation)} | {
                split: [_as_record(example) for example in getattr(raw, split)] for split in SPLITS
            }
    if not isinstance(raw, dict | list):
        raise UserError(f"{where} gave {show(raw)}, wanted a Dataset or what a JSON file may hold; return one of them")
    return _from_json(where, plugin.name, raw, source)


def _as_record(example: Any) -> Any:
    """An example as a record of a JSON file; anything else as it is."""
    if not isinstance(example, Example):
        return example
    answer = list(example.golds) if example.alternatives else example.answer
    given: dict[str, Any] = dict(example.columns) | {"question": example.question, "answer": answer}
    rest = {"id": example.id, "domain": example.domain, "choices": dict(example.choices)}
    return given | {name: value for name, value in (rest | {"context_chunks": list(example.chunks)}).items() if value}


def _from_json(where: str, name: str, raw: Any, source: Source) -> Dataset:
    """The dataset of this name in what a JSON file holds: a list of records, or the published program's shape."""
    if isinstance(raw, list):
        return _dataset(name, divide(_elements(where, f"{where}: record", raw), source), source)
    tables = _published_shape(where, raw, source)
    prefix, generation = raw.get("icl_prompt", ""), generation_settings(where, raw.get("generation", {}))
    check_text(f"{where}: icl_prompt", prefix)
    return replace(_dataset(name, tables, source), prefix=prefix, generation=generation)


def _published_shape(where: str, raw: Any, source: Source) -> dict[str, Table]:
    """dev and test of a file in the published program's shape."""
    if not isinstance(raw, dict):
        raise _fault(where, "the file", raw, "an object or a list", 'wrap the splits as {"dev": [...], "test": [...]}')
    tables = {}
    for split in dict.fromkeys(map(source.split, SPLITS)):
        if split not in raw:
            cure = f"add a list of records as {show(split)}, or say what is dev and test with --splits"
            raise UserError(f"{where}: no {split} split, wanted {' and '.join(map(source.split, SPLITS))}; {cure}")
        if not isinstance(raw[split], list):
            raise _fault(where, f"the {split} split", raw[split], "a list of records", "put its records into [...]")
        tables[split] = _elements(f"{where}: {split}", f"{where}: {split} record", raw[split])
    return paired(where, tables, source)


def _dataset(name: str, tables: Mapping[str, Table], source: Source) -> Dataset:
    """The examples of both splits, at least one in each."""
    for split, table in tables.items():
        if not table.rows:
            where = table.where.removesuffix(f": {source.split(split)}")
            raise UserError(f"{where}: the {split} split is empty, wanted at least one record; add some")
    ours = in_our_fields([tables[split] for split in SPLITS], source.columns)
    dev, test = (examples(table, source.columns) for table in ours)
    return Dataset(name, dev, test)


def _with_own_digest(dataset: Dataset) -> Dataset:
    """The dataset with the SHA-256 of its content as canonical JSON for its digest."""
    content = [dict(dataset.generation), dataset.prefix, _plain(dataset.dev), _plain(dataset.test)]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return replace(dataset, digest=hashlib.sha256(text.encode()).hexdigest())


def _plain(records: tuple[Example, ...]) -> list[dict[str, Any]]:
    # the order of choices changes prompts, so it is content: pairs, which sorting leaves alone
    found = [asdict(record) | {"choices": list(record.choices.items())} for record in records]
    for record in found:
        del record["columns"]  # which decide nothing
        if not record["alternatives"]:
            del record["alternatives"]  # digests of earlier versions stay what they are
    return found


def generation_settings(whole: str, raw: Any) -> dict[str, Any]:
    """The checked generation settings that a file `whole` asks for. Raises UserError for what is none."""
    where = f"{whole}: generation"
    if not isinstance(raw, dict):
        raise _fault(whole, "generation", raw, "an object", 'write {"max_new_tokens": 100, "chat": true} or drop it')
    for key, value in raw.items():
        if key == "max_new_tokens":
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"{where}: max_new_tokens is {show(value)}, wanted a whole number from 1; write one")
        elif key == "chat":
            if not isinstance(value, bool):
                raise UserError(f"{where}: chat is {show(value)}, wanted true or false; write one of them unquoted")
        elif key in NAMES:
            overrides_of(f"{where}: ", {key: value})
        else:
            known = ", ".join(("max_new_tokens", "chat", *NAMES))
            raise UserError(f"{where}: no setting {show(key)}, only {known}; drop or rename it")
    return raw


def _fault(whole: str, what: str, value: Any, wanted: str, cure: str) -> UserError:
    """The error for a part of the file that has the wrong shape."""
    return UserError(f"{whole}: {what} is {show(value)}, wanted {wanted}; {cure}")
