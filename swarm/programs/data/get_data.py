"""Brings the published datasets of Heterogeneous Swarms, or sets of the hub that are like four of them.

    h-swarm data get nlgraph gsm8k                  from GitHub to data/eval/<name>.json
    h-swarm data get --all                          all twelve
    h-swarm data get --all --from FOLDER            the same files from a folder of yours
    h-swarm data get gsm8k --hub --to FOLDER        drawn from openai/gsm8k: the same shape and sizes, but
                                                              other questions than the published file's
    h-swarm data get mix-instruct --hub             llm-blender/mix-instruct to data/mix_instruct/, unchanged

What is checked: gaia, gsm8k, knowledge_crosswords, mmlu, nlgraph and qasper have to have the SHA-256 that this version
knows. For the other six none is known here: what GitHub sends has to be what GitHub itself lists for that file in the
pinned commit (size and git's SHA-1 of the content), so that nothing was lost on the way, and its SHA-256 is printed for
you to keep; from a folder they are taken as they are. Every file has to be a dataset, and is written whole or not at
all. Files that are there and right are left alone. Exit code 0 when all are there, else 2 with one line for each that
is not.
"""

import argparse
import hashlib
import http.client
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from swarm.data.hub_sets import HUB_SETS
from swarm.data.load import parse_dataset
from swarm.data.mix_instruct import MIX_INSTRUCT, bring_mix_instruct
from swarm.data.published import COMMIT, PUBLISHED, SHA256
from swarm.errors import UserError
from swarm.evolution.command_line import Parser
from swarm.storage.files import write_whole

FILES = os.environ.get("H_SWARM_GITHUB_FILES", "https://raw.githubusercontent.com").rstrip("/")
API = os.environ.get("H_SWARM_GITHUB_API", "https://api.github.com").rstrip("/")
REPOSITORY = "BunsenFeng/heterogeneous_swarm"
SECONDS = 30  # without a byte from the server
INSTEAD = "try again later, or clone the repository and use --from its data/eval"


def data_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = Parser(prog="h-swarm data get", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(PUBLISHED)}; with --hub: "
                        f"{', '.join([*HUB_SETS, MIX_INSTRUCT])}")  # fmt: skip
    parser.add_argument("--all", action="store_true", help="all datasets of data/eval that can be had")
    parser.add_argument("--from", dest="folder", type=Path, metavar="FOLDER", help="take NAME.json from here")
    parser.add_argument("--hub", action="store_true", help="draw from the public sets of the Hugging Face hub")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="where to (data/eval; mix-instruct: data)")
    parser.add_argument("--replace", action="store_true", help="replace files that are there and differ")
    args = parser.parse_args(arguments)
    can_be_had = list(HUB_SETS) if args.hub else list(PUBLISHED)
    if args.all == bool(args.names):
        parser.error("give names or --all")
    if args.hub and args.folder:
        parser.error("--hub and --from are two places; give one of them")
    for name in args.names:
        if name not in can_be_had and not (args.hub and name == MIX_INSTRUCT):
            also = f", and with --hub {MIX_INSTRUCT}" if not args.hub else f", {MIX_INSTRUCT}"
            parser.error(f"no dataset {name!r} there; there are {', '.join(can_be_had)}{also}")
    args.names = can_be_had if args.all else list(dict.fromkeys(args.names))
    return args


def git_sha1(content: bytes) -> str:
    """The name under which git keeps this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def fetch(url: str, what: str) -> bytes:
    """What the server sends for a URL, all of it; a bar on a terminal. Raises UserError."""
    request = urllib.request.Request(url, headers={"User-Agent": "h-swarm"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            size = int(response.headers.get("Content-Length") or 0)
            return _read(response, size, what)
    except urllib.error.HTTPError as error:
        cure = "GitHub limits how much one may ask in an hour; " if error.code in (403, 429) else ""
        raise UserError(f"{url} answered with error {error.code}; {cure}{INSTEAD}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or f"{type(error).__name__}: {error}"
        raise UserError(f"{url} cannot be fetched ({reason}); {INSTEAD}") from error


def _read(response: Any, size: int, what: str) -> bytes:
    parts: list[bytes] = []
    with tqdm(
        desc=what, total=size or None, unit="B", unit_scale=True, leave=False, disable=not sys.stderr.isatty()
    ) as bar:
        while part := response.read(1 << 16):
            parts.append(part)
            bar.update(len(part))
    content = b"".join(parts)
    if size and len(content) != size:
        raise http.client.IncompleteRead(content, size - len(content))
    return content


@lru_cache
def listing() -> dict[str, tuple[int, str]]:
    """File name -> size and git's SHA-1, as GitHub lists data/eval at the pinned commit. Raises UserError."""
    url = f"{API}/repos/{REPOSITORY}/contents/data/eval?ref={COMMIT}"
    try:
        return {entry["name"]: (entry["size"], entry["sha"]) for entry in json.loads(fetch(url, "list of files"))}
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{url} did not send a list of files; {INSTEAD}") from error


def check(name: str, content: bytes, where: str, in_folder: bool) -> str:
    """How far a file is known to be the published one, in words; raises UserError if it is known not to be."""
    digest = hashlib.sha256(content).hexdigest()
    if name in SHA256:
        if digest != SHA256[name]:
            raise UserError(f"{where} has SHA-256 {digest}, wanted {SHA256[name]}; it is not the published file: "
                            "get it anew")  # fmt: skip
        return "SHA-256 as known"
    if in_folder:
        return f"no checksum is known to compare with, SHA-256 {digest}"
    if f"{name}.json" not in listing():
        raise UserError(f"GitHub lists no {name}.json at {COMMIT[:12]}; {INSTEAD}")
    size, sha1 = listing()[f"{name}.json"]
    if (len(content), git_sha1(content)) != (size, sha1):
        raise UserError(f"{where} has {len(content)} bytes and git SHA-1 {git_sha1(content)}, wanted {size} and {sha1} "
                        "as GitHub lists it; get it anew")  # fmt: skip
    return f"as GitHub lists it, SHA-256 {digest}"


def is_right(name: str, present: bytes, args: argparse.Namespace) -> bool:
    """Whether the file that is there is the one that would be brought."""
    if name in SHA256:
        return hashlib.sha256(present).hexdigest() == SHA256[name]
    if args.folder:
        return present == _in_folder(name, args.folder)
    return listing().get(f"{name}.json") == (len(present), git_sha1(present))


def bring(name: str, args: argparse.Namespace) -> str:
    """Makes data/eval/<name>.json the published file; returns what was done, in words. Raises UserError."""
    path = args.to / f"{name}.json"
    if path.exists():
        if is_right(name, _read_file(path), args):
            return f"{path} is there and right"
        _refuse_to_replace(path, args)
    if args.folder:
        where, content = args.folder / f"{name}.json", _in_folder(name, args.folder)
    else:
        where, content = Path(f"{name}.json"), fetch(f"{FILES}/{REPOSITORY}/{COMMIT}/data/eval/{name}.json", name)
    known = check(name, content, str(where), bool(args.folder))
    return f"{_put(path, content, where)}; {known}"


def draw_from_hub(name: str, args: argparse.Namespace) -> str:
    """Makes data/eval/<name>.json a draw from the hub's set; returns what was done, in words. Raises UserError."""
    path = args.to / f"{name}.json"
    drawn = HUB_SETS[name]()
    content = (json.dumps(drawn, ensure_ascii=False, indent=1) + "\n").encode()
    if path.exists():
        if _read_file(path) == content:
            return f"{path} is there and right"
        _refuse_to_replace(path, args)
    return f"{_put(path, content, Path(path.name))}; {drawn['source']}, not the published questions"


def _refuse_to_replace(path: Path, args: argparse.Namespace) -> None:
    if not args.replace:
        cure = "move it away, say --replace, or give another --to"
        raise UserError(f"{path} is there and is not the file that is asked for; {cure}")


def _in_folder(name: str, folder: Path) -> bytes:
    return _read_file(folder / f"{name}.json")


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give a folder with such files") from error


def _put(path: Path, content: bytes, where: Path) -> str:
    """Writes a dataset once it has proved to be one."""
    dataset = parse_dataset(where, content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.decode())
    except (OSError, UserError) as error:
        raise UserError(
            f"{path} cannot be written ({error.__cause__ or error}); make room, or give another --to"
        ) from error
    return f"{path}: {len(dataset.dev)} dev, {len(dataset.test)} test"


def get_program(arguments: Sequence[str] | None = None) -> int:
    """Brings one dataset after the other, a line for each; returns the exit code."""
    args = data_options(arguments)
    data = args.to or Path("data")
    args.to = args.to or Path("data/eval")
    missing = 0
    for name in args.names:
        way: Callable[[str, argparse.Namespace], str] = draw_from_hub if args.hub else bring
        try:
            done = bring_mix_instruct(data / "mix_instruct") if name == MIX_INSTRUCT else way(name, args)
            print(f"{name}: {done}", flush=True)
        except UserError as error:
            missing += 1
            print(f"missing: {name}: {error}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print("interrupted; what is there is whole: the same command goes on from there", file=sys.stderr)
            return 130
    return 2 if missing else 0
