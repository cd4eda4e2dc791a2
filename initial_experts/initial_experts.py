"""Brings the ten published experts of Heterogeneous Swarms (LoRA adapters of Gemma-7B) from the Hugging Face hub.

    python initial_experts/initial_experts.py                     all ten, each into initial_experts/<name>/
    python initial_experts/initial_experts.py --only cot,lima     some of them
    python initial_experts/initial_experts.py --to /data/experts  somewhere else

Safe to interrupt and to repeat: experts that are complete are left alone without asking the hub, and of the others only
the files that are missing are fetched. Exit code 0 when all are there; else 2, with one line for each that is missing.
Their base model, google/gemma-7b-it, is gated: accept its terms on its page and log in with `hf auth login`.
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

OWNER = "bunsenfeng"
EXPERTS = (
    "code_alpaca", "cot", "flan_v2", "gemini_alpaca", "lima", "oasst1", "open_orca", "science", "sharegpt", "wizardlm",
)  # fmt: skip
BASE = "google/gemma-7b-it"
CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja",
)  # fmt: skip
# Nothing that could run: no pickles, no Python. No subfolders either, which hold the checkpoints of a training run.
WANTED = (CONFIG, "*.safetensors", *TOKENIZER_FILES)
UNWANTED = ("*/*",)


class NotBrought(Exception):
    """Why one expert could not be brought, in one line; `stop` if the others need not be tried either."""

    def __init__(self, reason: str, stop: bool = False) -> None:
        super().__init__(reason)
        self.stop = stop


def is_whole(path: Path) -> bool:
    """Whether a safetensors file has all the bytes that its header promises; a cut-off download has not."""
    try:
        with path.open("rb") as file:
            header_size = int.from_bytes(file.read(8), "little")
            if not 0 < header_size <= path.stat().st_size:
                return False
            header = json.loads(file.read(header_size))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return False
    return bool(ends) and path.stat().st_size == 8 + header_size + max(ends)


def is_complete(folder: Path) -> bool:
    """Whether a folder holds an adapter: a readable configuration and whole weights."""
    try:
        json.loads((folder / CONFIG).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return False
    weights = list(folder.glob("*.safetensors"))
    return bool(weights) and all(is_whole(path) for path in weights)


def _reason(error: BaseException, repo: str) -> NotBrought:
    """What a failure of the hub's client means to the person who started the download."""
    from huggingface_hub import errors

    text = (str(error).strip().splitlines() or [""])[0]
    where = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return NotBrought("HF_HUB_OFFLINE is set: unset it to ask the hub", stop=True)
    if isinstance(error, errors.GatedRepoError):
        return NotBrought(f"gated: accept the terms on {where}/{repo}, then `hf auth login` (or set HF_TOKEN)")
    if isinstance(error, errors.RepositoryNotFoundError):
        return NotBrought(f"{where} shows no {repo} to you: if it is private, `hf auth login` (or set HF_TOKEN)")
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        advice = "`hf auth login` again, the token may not read it" if status in (401, 403) else "try again later"
        return NotBrought(f"{where} answered with error {status}: {advice}")
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _reason(error.__cause__, repo) if error.__cause__ else NotBrought(text)
    if isinstance(error, errors.HTTPError):  # of httpx or httpx2, as the client's release has it
        what = f"{type(error).__name__}: {text}"
        if type(error).__name__ in ("ConnectError", "ConnectTimeout", "ProxyError"):
            return NotBrought(f"{where} cannot be reached ({what})", stop=True)
        return NotBrought(f"the connection to {where} broke off ({what}): try again")
    return NotBrought(f"{type(error).__name__}: {text}")


def _download(repo: str, folder: Path) -> None:
    from huggingface_hub import HfApi, snapshot_download

    info = HfApi().model_info(repo)
    names = [sibling.rfilename for sibling in info.siblings or []]
    if not any(name.endswith(".safetensors") and "/" not in name for name in names):
        raise NotBrought(_no_safetensors(repo, folder, PICKLED in names))
    snapshot_download(
        repo, revision=info.sha, local_dir=folder, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED)
    )
    for leftover in (folder / ".cache" / "huggingface" / "download").glob("*.incomplete"):
        leftover.unlink(missing_ok=True)  # of a download that was killed; the client starts such a file afresh


def _no_safetensors(repo: str, folder: Path, pickled: bool) -> str:
    if not pickled:
        return f"{repo} holds no weights in safetensors"
    convert = (
        f"import torch, safetensors.torch as s; "
        f"s.save_file(torch.load('{folder / PICKLED}', weights_only=True), '{folder / WEIGHTS}')"
    )
    return (
        f"{repo} holds its weights as {PICKLED} only, a format that can carry code. To fetch and convert it: "
        f'hf download {repo} {CONFIG} {PICKLED} --local-dir {folder} && python -c "{convert}"'
    )


def bring(name: str, folder: Path) -> str:
    """Makes `folder` hold the expert; returns what was done, in words. Raises NotBrought."""
    from huggingface_hub.errors import HTTPError

    if is_complete(folder):
        return "complete already"
    began = time.monotonic()
    repo = f"{OWNER}/{name}"
    try:
        _download(repo, folder)
    except (HTTPError, OSError, RuntimeError) as error:  # the client's own errors are kinds of these
        raise _reason(error, repo) from error
    if not is_complete(folder):
        raise NotBrought(f"{repo} was fetched, but {folder} holds no whole adapter: remove that folder and try again")
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return f"done, {size / 1e6:.1f} MB in {time.monotonic() - began:.0f} s"


def bring_all(names: Sequence[str], to: Path) -> dict[str, str]:
    """Brings the experts one after the other; returns the reason for each that is missing."""
    missing: dict[str, str] = {}
    stopped = ""
    for number, name in enumerate(names, start=1):
        label = f"[{number}/{len(names)}] {name}"
        if stopped and not is_complete(to / name):
            missing[name] = f"not tried, as {stopped}"
            continue
        if not is_complete(to / name):
            print(f"{label}: downloading {OWNER}/{name}", flush=True)
        try:
            print(f"{label}: {bring(name, to / name)}", flush=True)
        except NotBrought as error:
            missing[name] = str(error)
            stopped = str(error) if error.stop else ""
    return missing


def _expert_names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = sorted(set(names) - set(EXPERTS))
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"no expert {', '.join(unknown) or 'named'}; there are {', '.join(EXPERTS)}")
    return list(dict.fromkeys(names))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_expert_names, default=list(EXPERTS), metavar="A,B", help="only these experts")
    parser.add_argument(
        "--to", type=Path, default=Path(__file__).parent, metavar="FOLDER", help="where to (default: beside this file)"
    )
    return parser


def _report(names: Sequence[str], missing: dict[str, str], to: Path) -> int:
    for name, reason in missing.items():
        print(f"missing: {name}: {reason}", file=sys.stderr)
    there = f"{len(names) - len(missing)} of {len(names)} experts are in {to}."
    base = f"Their base, {BASE}, is gated: accept its terms on https://huggingface.co/{BASE} and run `hf auth login`"
    if missing:
        print(f"{there} What was fetched is kept: the same command goes on from there.", file=sys.stderr)
        print(f"{base} before they can be used.", file=sys.stderr)
        return 2
    print(f"{there} {base} before the first search.")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, brings the experts, and says what is missing; returns the exit code."""
    options = _parser().parse_args(arguments)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # read when the client is imported
    try:
        import huggingface_hub
    except ImportError:
        print("huggingface_hub is missing: run `bash scripts/environment.sh`, then .venv/bin/python", file=sys.stderr)
        return 2
    huggingface_hub.logging.set_verbosity(logging.ERROR)  # what it would warn of is said below, once and in one line
    try:
        return _report(options.only, bring_all(options.only, options.to), options.to)
    except KeyboardInterrupt:
        print("interrupted; what was fetched is kept: the same command goes on from there", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
