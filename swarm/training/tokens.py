"""Samples as a base reads them: tokens, and which of them are learned.

The prompt's tokens are those that the engine will put to the expert, so that it is trained in the place where it is
asked. Learned is the completion of a prompt, and in a chat all that the assistant says, where the chat template can
tell which tokens these are (its generation marks, or TRL's template for training in its place); else its last turn.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from swarm.engines.local.chat_template import FAULTS, content_form, on_a_fixed_day, refused
from swarm.errors import UserError
from swarm.training.samples import Sample

IGNORED = -100  # a label that the loss passes over
TOGETHER = 1000  # samples that the tokenizer reads at once


@dataclass(frozen=True)
class TokenRows:
    """Rows to train on.

    Attributes:
      input_ids, labels: of each row an int32 array (length,); a label is the token itself where it is learned, else
        `IGNORED`.
      shortened: rows whose end did not fit into max_length.
      dropped: rows of which nothing that is to be learned was left; they are not among the rows.
    """

    input_ids: list[np.ndarray]
    labels: list[np.ndarray]
    shortened: int
    dropped: int

    @property
    def learned(self) -> int:
        """The number of tokens that are learned in one pass."""
        return sum(int((row != IGNORED).sum()) for row in self.labels)


def token_rows(tokenizer: Any, samples: Sequence[Sample], chat: bool, max_length: int) -> TokenRows:
    """The rows of some samples, in their order, cut at `max_length` tokens.

    `chat` puts them into the tokenizer's chat template, but for those that are asked without. Raises UserError that
    names the row for one that the template refuses, or that needs a template where there is none; and where no row is
    left.
    """
    readers = {False: _PlainReader(tokenizer)} | ({True: _ChatReader(tokenizer)} if chat else {})
    input_ids, labels, shortened = [], [], 0
    for begin in tqdm(range(0, len(samples), TOGETHER), "reading", leave=False, disable=not sys.stderr.isatty()):
        for ids, learned in _read(samples[begin : begin + TOGETHER], readers):
            shortened += len(ids) > max_length
            read = np.array(ids[:max_length], dtype=np.int32)
            row = np.where(learned[:max_length], read, IGNORED).astype(np.int32)
            if (row[1:] != IGNORED).any():  # the first token is predicted from nothing, so it is never learned
                input_ids.append(read)
                labels.append(row)
    if not labels:
        raise UserError(
            f"{samples[0].where} and all other rows have prompts that fill max_length ({max_length} tokens) by "
            "themselves, so that no answer is left to learn: raise max_length, or shorten the prompts"
        )
    return TokenRows(input_ids, labels, shortened, len(samples) - len(labels))


Read = tuple[list[int], list[bool]]
"""A row's tokens, and whether each is learned."""


class _Reader(Protocol):
    def read(self, samples: Sequence[Sample]) -> Iterator[Read]:
        """The rows of some samples."""
        ...


def _read(samples: Sequence[Sample], readers: Mapping[bool, _Reader]) -> Iterator[Read]:
    """The rows of some samples, in their order, each by its reader."""
    in_chat = [True in readers and sample.in_chat is not False for sample in samples]
    rows = {
        form: reader.read([sample for sample, own in zip(samples, in_chat, strict=True) if own is form])
        for form, reader in readers.items()
    }
    return (next(rows[form]) for form in in_chat)


class _PlainReader:
    """Prompt, separator, completion, end."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def read(self, samples: Sequence[Sample]) -> Iterator[Read]:
        """The rows of some samples."""
        texts = [self._texts(sample) for sample in samples]
        prompts = self._tokenizer([prompt for prompt, _ in texts])["input_ids"]
        wholes = self._tokenizer([prompt + answer for prompt, answer in texts])["input_ids"]
        for (_, answer), asked, whole in zip(texts, prompts, wholes, strict=True):
            if whole[: len(asked)] != asked:  # tokens that merge across the border, or an end that is put behind it
                whole = asked + self._tokenizer(answer, add_special_tokens=False)["input_ids"]
            end = self._tokenizer.eos_token_id
            if end is not None and whole[-1] != end:
                whole = [*whole, end]
            yield whole, _after(len(asked), len(whole))

    def _texts(self, sample: Sample) -> tuple[str, str]:
        """The prompt, and what comes behind it."""
        if [role for role, _ in sample.messages] != ["user", "assistant"]:
            raise UserError(
                f"{sample.where}: a conversation of {len(sample.messages)} messages needs a chat template, which is "
                "not used here (the base has none, or chat is false): use a base with one, or rows of one question "
                "and one answer"
            )
        (_, prompt), (_, completion) = sample.messages
        apart = prompt[-1].isspace() or completion[0].isspace()
        return prompt, ("" if apart else sample.separator) + completion


class _ChatReader:
    """Rows in the chat template."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._template = on_a_fixed_day(tokenizer.get_chat_template())
        self._training = _training_template(tokenizer)
        self._content: Callable[[str], Any] = str
        with refused(tokenizer), suppress(*FAULTS):  # which a row may do without, or is told of by itself
            self._content = content_form(tokenizer, self._template)

    def _messages(self, sample: Sample) -> list[dict[str, Any]]:
        return [{"role": role, "content": self._content(content)} for role, content in sample.messages]

    def read(self, samples: Sequence[Sample]) -> Iterator[Read]:
        """The rows of some samples."""
        rendered = [None if self._is_marked(sample) else self._rendered(sample) for sample in samples]
        texts = [text for pair in rendered if pair is not None for text in (*pair, "".join(pair))]
        tokens = iter(self._tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else [])
        for sample, pair in zip(samples, rendered, strict=True):
            if pair is None:
                yield self._marked(sample)
                continue
            asked, answer, whole = next(tokens), next(tokens), next(tokens)
            if whole[: len(asked)] != asked or not self._says(whole[len(asked) :], answer):
                whole = asked + answer  # tokens merge across the border
            yield whole, _after(len(asked), len(whole))

    def _says(self, tokens: list[int], others: list[int]) -> bool:
        """Whether the two are one text, but for a blank that some tokenizers put before a text by itself."""
        return bool(self._tokenizer.decode(tokens).strip() == self._tokenizer.decode(others).strip())

    def _is_marked(self, sample: Sample) -> bool:
        return sample.chat and self._training is not None

    def _marked(self, sample: Sample) -> Read:
        with _refusals(sample):
            read = self._tokenizer.apply_chat_template(
                self._messages(sample),
                chat_template=self._training,
                return_dict=True,
                return_assistant_tokens_mask=True,
                **dict(sample.arguments),
            )
        return list(read["input_ids"]), [bool(part) for part in read["assistant_masks"]]

    def _rendered(self, sample: Sample) -> tuple[str, str]:
        """The text up to the last answer, as the engine asks for it, and what comes behind it.

        Where a template writes an
        answer that it has been given in another way than it asks for one, what counts is how it asks.
        """
        messages = self._messages(sample)
        settings = {"chat_template": self._template, "tokenize": False, **dict(sample.arguments)}
        with _refusals(sample):
            asked = self._tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, **settings)
            whole = self._tokenizer.apply_chat_template(messages, **settings)
        if whole.startswith(asked):
            return asked, whole[len(asked) :]
        said = sample.messages[-1][1].strip()
        start = whole.rfind(said)
        return asked, whole[start:] if start >= 0 else said + (self._tokenizer.eos_token or "")


@contextmanager
def _refusals(sample: Sample) -> Iterator[None]:
    """What a chat template raises about a conversation becomes a UserError."""
    from jinja2 import TemplateError

    try:
        yield
    except TemplateError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{sample.where}: the base's chat template refuses this conversation ({reason}): mend or drop the row"
        ) from error


def _after(prompt: int, length: int) -> list[bool]:
    return [position >= prompt for position in range(length)]


def _training_template(tokenizer: Any) -> str | None:
    """A template that marks what the assistant says, which needs a fast tokenizer; None where there is none."""
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    if not tokenizer.is_fast:
        return None
    template = tokenizer.get_chat_template()
    if not has_generation_markers(template):
        try:
            found = get_training_chat_template(tokenizer)
        except ValueError:  # TRL has none in the place of this one
            return None
        template = found if found is not None else template
    return on_a_fixed_day(template) if has_generation_markers(template) else None
