"""The cache of completions: in memory for two steps of a search, and beyond that on disk."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from swarm.engines.base import Completion, GenerationParams, Request
from swarm.errors import UserError

log = logging.getLogger(__name__)


class Store(Protocol):
    """Completions that outlive the process, by the 32 bytes of their key."""

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """The completions that are stored, by key."""
        ...

    def put_many(self, completions: Mapping[bytes, Completion]) -> Mapping[bytes, Completion]:
        """Stores all of them or none, but for keys that have a completion; returns those that differ from theirs."""
        ...


class CompletionCache:
    """Completions by content: what the engine is, the expert's weights, the prompt and how it was put.

    The memory holds the running step and the one before it: a weight step and the next role step ask the same experts,
    after which their weights have moved.

    Attributes:
      from_disk: how many completions were found on disk.
    """

    def __init__(self, facts: Mapping[str, str], disk: Store | None = None):
        """`facts` are the engine's (`Engine.facts`): what of it can change a text."""
        self.from_disk = 0
        self._disk = disk
        self._facts = json.dumps(dict(facts), sort_keys=True)
        self._beginnings: dict[tuple[str, GenerationParams], hashlib._Hash] = {}
        self._now: dict[bytes, Completion] = {}
        self._before: dict[bytes, Completion] = {}

    def next_step(self) -> None:
        """Drops the completions from memory that were not asked for since the last call."""
        self._before, self._now = self._now, {}
        self._beginnings = {}

    def key(self, request: Request) -> bytes:
        """SHA-256 over what decides the answer: never a path or an index, and a name only of whom is sampled."""
        group = request.group
        beginning = self._beginnings.get(group)
        if beginning is None:
            content = json.dumps([self._facts, request.member.digest, request.params.facts()])
            beginning = self._beginnings[group] = hashlib.sha256(content.encode() + b"\n")
        digest = beginning.copy()
        digest.update(request.prompt.encode("utf8", "surrogatepass"))
        if request.history:  # keys of requests without one are as they were before there was any
            digest.update(b"\n" + json.dumps(request.history).encode())
        if request.params.sampling is not None:  # whose random numbers are by name and draw
            digest.update(b"\n" + json.dumps([request.member.name, request.drawn]).encode())
        return digest.digest()

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """The completions that are cached, by key."""
        known: dict[bytes, Completion] = {}
        unknown = []
        for key in dict.fromkeys(keys):
            completion = self._now.get(key) or self._before.get(key)
            if completion is None:
                unknown.append(key)
            else:
                known[key] = completion
        if self._disk is not None and unknown:
            with self._without_disk_from_now_on():
                found = self._disk.get_many(unknown)
                self.from_disk += len(found)
                known |= found
        self._now |= known
        return known

    def put_many(self, completions: Mapping[bytes, Completion]) -> dict[bytes, Completion]:
        """Keeps a finished batch, on disk whole or not at all; gives what is kept of it.

        That is another text where a process beside this one was first and the batch has decided about the text, as it
        can in half precision: all processes go on with the same one.
        """
        kept = dict(completions)
        if self._disk is not None:
            with self._without_disk_from_now_on():
                kept |= self._disk.put_many(completions)
        self._now |= kept
        return kept

    @contextmanager
    def _without_disk_from_now_on(self) -> Iterator[None]:
        """Logs the disk's error once and goes on without the disk: it ends no search."""
        try:
            yield
        except UserError as error:
            self._disk = None
            log.warning("%s; meanwhile the search goes on without the cache on disk", error)
