"""Tables from data sets of the Hugging Face hub, or from its cache on this machine.

The library that does it runs no code that comes with a data set; a set that needs its script is refused.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from swarm.data.tables import Row, Table, show
from swarm.errors import UserError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NO_CONNECTION = ("LocalEntryNotFoundError", "ConnectError", "ConnectTimeout", "ReadTimeout", "ProxyError")
PARQUET_BRANCH = "refs/convert/parquet"  # where the hub keeps a copy of most sets that needs no script


def is_hub_id(text: str) -> bool:
    """Whether a text has the form owner/name."""
    return _ID.fullmatch(text) is not None


def read_hub(
    dataset: str, splits: Sequence[str], config: str | None = None, revision: str | None = None
) -> dict[str, Table]:
    """Split -> its table, for the splits that are named, of the set `dataset` (owner/name).

    Args:
      config: which of the set's configurations; None if it has one, or a default.
      revision: branch, tag or commit; None for the newest.

    Raises UserError if the set, the configuration, the revision or a split is not there, cannot be reached and is not
    in the cache, may not be read, or needs a script.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{dataset}: the library datasets is needed and missing; pip install datasets") from error
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    with explained(dataset):
        builder = datasets.load_dataset_builder(dataset, name=config, revision=revision)
        _check_revision(dataset, builder, revision)
        builder.download_and_prepare()
        there = list(builder.info.splits or {})
        for split in splits:
            if split not in there:
                cure = f"say --splits dev={there[0]},test={there[-1]}, for example" if there else "name another set"
                raise UserError(f"{dataset}: no split {show(split)}, only {', '.join(there) or 'none'}; {cure}")
        parts = {split: builder.as_dataset(split=split) for split in splits}
    return {split: _table(f"{dataset}: {split}", rows) for split, rows in parts.items()}


@contextmanager
def explained(dataset: str) -> Iterator[None]:
    """A context manager in which errors of the hub's clients about this set become UserErrors of one line."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # httpx's or httpx2's, as it has it

    try:
        yield
    # Configurations and splits that are not there are ValueErrors, scripts RuntimeErrors; what the clients raise about
    # files and repositories are kinds of OSError, as is a full disk.
    except (ValueError, OSError, RuntimeError, DatasetsError, HTTPError) as error:
        raise UserError(f"{dataset}: {_reason(error)}") from error


def _check_revision(dataset: str, builder: Any, revision: str | None) -> None:
    """Refuses the newest of the cache where another revision was asked for: the library itself takes it."""
    if revision is None or "packaged_modules.cache" not in type(builder).__module__ or builder.hash == revision:
        return
    cure = "allow the network, or drop --data_revision"
    if not _COMMIT.fullmatch(revision):
        cure = f"give --data_revision {builder.hash} if that is meant, or allow the network"
    raise UserError(
        f"{dataset}: revision {revision} cannot be asked for, as the hub cannot be reached or has no such files, and "
        f"the cache holds {builder.hash}; {cure}"
    )


def _table(where: str, rows: Any) -> Table:
    return Table(where, [Row(f"{where} row {index}", row) for index, row in enumerate(rows)], "typed")


def _reason(error: BaseException) -> str:
    """The cause of a failure of the library, and its cure, in one line."""
    text = " ".join(str(error).split())
    kind = type(error).__name__
    if "scripts are no longer supported" in text:
        return f"the set comes with a script, and code of a data set is never run; try --data_revision {PARQUET_BRANCH}"
    if "gated dataset" in text:
        return "the set is gated; accept its terms on its page of the hub, then `hf auth login` (or set HF_TOKEN)"
    if isinstance(error, ConnectionError) or kind in _NO_CONNECTION:
        cure = "allow the network (and unset HF_HUB_OFFLINE if it is set), or give a file"
        return f"no folder or file here, the hub cannot be reached, and the cache does not hold it; {cure}"
    if kind in ("DatasetNotFoundError", "RepositoryNotFoundError") or "doesn't exist on the Hub" in text:
        cure = "correct the name, or `hf auth login` if it is private"
        return f"no folder or file here, and the hub shows no such set or revision to you; {cure}"
    if "onfig" in text and isinstance(error, ValueError):
        return f"the configuration cannot be chosen ({_short(text)}); name one with --hub_config"
    return f"it cannot be loaded ({kind}: {_short(text)}); mend that, or give its files"


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:297]}..."
