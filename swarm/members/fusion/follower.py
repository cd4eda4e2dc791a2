"""Incremental tokenization: token ids of one model for a text that another one writes."""

from typing import Any

from swarm.members.fusion.boundaries import boundaries_of

MARGIN = 16  # characters at the end of a text that are always encoded again
CONTEXT = 8  # characters before a cut, at least, that are encoded with what stands behind it
STRIDE = 48  # characters behind a cut, beside the margin, from which on a later cut is looked for


class Follower:
    """The ids of a growing text, always those of encoding it at once; only its end is encoded again.

    Attributes:
      text: the whole text, that of the prompt included.
      ids: its tokens, special ones included where they were asked for.
      encoded: characters that were given to the tokenizer so far, which tells what following costs.
    """

    def __init__(self, tokenizer: Any, prompt_text: str, add_special_tokens: bool):
        """Encodes the prompt's text; `add_special_tokens` as tokenizers have it (<s> before it, say)."""
        self._tokenizer, self._special = tokenizer, add_special_tokens
        self._boundaries = boundaries_of(tokenizer)
        self.text, self.encoded = prompt_text, 0
        self._core = self._encode(prompt_text)
        self._around = self._special_around() if add_special_tokens else ([], [])  # None: asked for every time
        # text[_begin:_cut] has the tokens _head; _count tokens of the text come before _cut
        self._begin = self._cut = self._count = 0
        self._head: list[int] = []
        self._look_for_cut()

    @property
    def ids(self) -> list[int]:
        """See above."""
        if self._around is None:
            return self._encode(self.text, special=True)
        return [*self._around[0], *self._core, *self._around[1]]

    def extend(self, text: str) -> list[int]:
        """Appends to the text; returns the ids of all of it."""
        if text:
            self.text += text
            self._core = self._encode_on()
            self._look_for_cut()
        return self.ids

    def _encode_on(self) -> list[int]:
        """The tokens of the text, of which those before the cut are known."""
        if self._cut:
            tail = self._encode(self.text[self._begin :])
            if tail[: len(self._head)] == self._head:
                return self._core[: self._count] + tail[len(self._head) :]
        self._begin = self._cut = self._count = 0
        self._head = []
        return self._encode(self.text)

    def _look_for_cut(self) -> None:
        """Moves the cut forward where the text has grown, if that gives the same tokens."""
        until = len(self.text) - MARGIN
        if until - self._cut <= STRIDE and self._cut:
            return
        cut = self._boundaries.last(self.text, max(self._cut, CONTEXT), until)
        begin = cut and self._boundaries.last(self.text, max(0, cut - 8 * CONTEXT), cut - CONTEXT)
        if not cut or not begin:
            return
        head, tail = self._encode(self.text[begin:cut]), self._encode(self.text[begin:])
        behind = tail[len(head) :]
        count = len(self._core) - len(behind)
        if tail[: len(head)] == head and behind and self._core[count:] == behind:
            self._begin, self._cut, self._count, self._head = begin, cut, count, head

    def _special_around(self) -> tuple[list[int], list[int]] | None:
        """The special tokens before and behind every text; None where they do not stand there only.

        Nor for slow tokenizers, some of which put no end token behind a text that has one.
        """
        if not self._tokenizer.is_fast:
            return None
        whole, core = self._encode("a", special=True), self._encode("a")
        for before in range(len(whole) - len(core) + 1):
            if core and whole[before : before + len(core)] == core:
                return whole[:before], whole[before + len(core) :]
        return None

    def _encode(self, text: str, special: bool = False) -> list[int]:
        self.encoded += len(text)
        if self._tokenizer.is_fast:
            backend = self._tokenizer.backend_tokenizer
            if backend.truncation is None and backend.padding is None:
                # without offsets into the text, which nobody asks for, this takes half as long
                return list(backend.encode_batch_fast([text], add_special_tokens=special)[0].ids)
        return list(self._tokenizer(text, add_special_tokens=special)["input_ids"])
