"""What kind of data a file holds: by its name, and where that says nothing by its content; packed files unpacked."""

import zlib
from pathlib import Path

from swarm.errors import UserError

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
PACKED = (".gz", ".zst")
MOST_BYTES = 8 << 30  # of an unpacked file: a few bytes can be made to unpack to any number

_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_LOOKED_AT = 1 << 16  # bytes of a file whose name says nothing


def suffix_of(path: Path) -> str:
    """The suffix that tells a file's kind, packing aside: .jsonl of rows.jsonl.gz; "" for an unknown one."""
    name = Path(path.stem) if path.suffix.lower() in PACKED else path
    return name.suffix.lower() if name.suffix.lower() in SUFFIXES else ""


def stem_of(path: Path) -> str:
    """The name of the data in a file: rows of rows.jsonl.gz."""
    name = Path(path.stem) if path.suffix.lower() in PACKED else path
    return name.stem if suffix_of(path) else name.name


def unpacked(path: Path, content: bytes) -> bytes:
    """The content of a file that may be packed (gzip or Zstandard, told by its first bytes).

    Raises UserError for a packed file that is damaged or unpacks to more than memory should hold.
    """
    try:
        if content[:2] == b"\x1f\x8b":
            return _gunzipped(path, content)
        if content[:4] == b"\x28\xb5\x2f\xfd":
            return _from_zstandard(path, content)
    except (zlib.error, OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be unpacked ({error}); pack it again, or unpack it yourself") from error
    return content


def kind_of(path: Path, content: bytes) -> str:
    """The suffix that tells what this content is: by the file's name, or where that says nothing by itself."""
    if suffix := suffix_of(path):
        return {".ndjson": ".jsonl"}.get(suffix, suffix)
    if content[:4] == b"PAR1":
        return ".parquet"
    start = content[:_LOOKED_AT].lstrip(b"\x00 \t\r\n" + b"".join(_BOMS))
    if start[:1] == b"[":
        return ".json"
    if start[:1] == b"{":
        first, _, rest = start.partition(b"\n")
        one_a_line = first.rstrip(b"\r\x00 ").endswith(b"}") and rest.lstrip(b"\x00 \r\n")[:1] in (b"{", b"")
        return ".jsonl" if one_a_line else ".json"
    return ".csv"


def _gunzipped(path: Path, content: bytes) -> bytes:
    pieces: list[bytes] = []
    size, rest = 0, content
    while rest[:2] == b"\x1f\x8b":  # a file may be several, one behind the other
        member = zlib.decompressobj(wbits=31)
        pieces.append(member.decompress(rest, MOST_BYTES - size + 1))
        size += len(pieces[-1])
        if size > MOST_BYTES:
            raise _too_large(path)
        if not member.eof:
            raise ValueError("it ends too early")
        rest = member.unused_data
    return b"".join(pieces)


def _from_zstandard(path: Path, content: bytes) -> bytes:
    try:
        import pyarrow  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError(f"{path}: pyarrow is needed to unpack it and is missing; pip install datasets") from error
    with pyarrow.CompressedInputStream(pyarrow.BufferReader(content), "zstd") as stream:
        pieces, size = [], 0
        while piece := stream.read(1 << 20):
            pieces.append(piece)
            size += len(piece)
            if size > MOST_BYTES:
                raise _too_large(path)
    return b"".join(pieces)


def _too_large(path: Path) -> UserError:
    return UserError(f"{path}: unpacks to more than {MOST_BYTES >> 30} GB; divide it into smaller files")
