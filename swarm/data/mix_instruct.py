"""MixInstruct: prompts with the answers and scores of eleven models, from which a router can learn. Not an eval set."""

import json
import shutil
from pathlib import Path

from swarm.data.hub import explained
from swarm.errors import UserError
from swarm.storage.files import whole_folder

MIX_INSTRUCT = "mix-instruct"
_SET = "llm-blender/mix-instruct"
_SPLITS = {"train": "train", "validation": "val", "test": "test"}  # ours -> how the names of its files begin


def bring_mix_instruct(folder: Path) -> str:
    """Makes `folder` hold train.jsonl, validation.jsonl and test.jsonl, the set's own files; returns what was done.

    The files themselves are copied, rather than rows read by a library that gives all records the same fields. The
    folder is whole or not there; a folder that is there is left alone.

    Raises UserError if the set cannot be reached, or is not as it was known, or there is no room.
    """
    if all((folder / f"{split}.jsonl").is_file() for split in _SPLITS):
        return f"{folder} is there"
    if folder.exists():
        raise UserError(f"{folder} is there and does not hold {', '.join(_SPLITS)}.jsonl; move it away")
    with explained(_SET):
        files = _download()
    try:
        with whole_folder(folder) as waiting:
            counts = {split: _copy(file, waiting / f"{split}.jsonl") for split, file in files.items()}
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); make room, or give another --to") from error
    return f"{folder}: {', '.join(f'{count} {split}' for split, count in counts.items())}"


def _download() -> dict[str, Path]:
    """Split -> its file in the hub's cache; what was fetched before is not fetched again."""
    from huggingface_hub import HfApi, hf_hub_download

    info = HfApi().dataset_info(_SET)
    names = [sibling.rfilename for sibling in info.siblings or [] if sibling.rfilename.endswith(".jsonl")]
    chosen = {}
    for split, beginning in _SPLITS.items():
        fitting = [name for name in names if name.startswith(beginning)]
        if len(fitting) != 1:
            raise UserError(f"{_SET} has the files {', '.join(names) or 'none'}, wanted one {beginning}*.jsonl; "
                            "get them by hand")  # fmt: skip
        chosen[split] = fitting[0]
    return {
        split: Path(hf_hub_download(_SET, name, repo_type="dataset", revision=info.sha))
        for split, name in chosen.items()
    }


def _copy(file: Path, to: Path) -> int:
    """Copies a file; returns the number of its records, each of which has to be a JSON object."""
    with file.open(encoding="utf8") as lines:
        count = 0
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise UserError(f"{_SET}: {file.name}, line {number} is not JSON; get it by hand") from error
            if not isinstance(record, dict):
                raise UserError(f"{_SET}: {file.name}, line {number} is not a JSON object; get it by hand")
            count += 1
    shutil.copyfile(file, to)
    return count
