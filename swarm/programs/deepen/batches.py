"""Models that answer a config's questions together, in their order, as many at a time as fit."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from swarm.engines.local.token_budget import is_out_of_memory
from swarm.errors import UserError
from swarm.members.fusion.build import make_chooser
from swarm.members.fusion.digit_vote import DigitVote
from swarm.members.fusion.fused_decoding import FusedDecoding, FusionCount
from swarm.members.fusion.fusion_artefact import FACTS, saved_rule
from swarm.members.fusion.fusion_models import FusionModel, Prompt
from swarm.members.fusion.fusion_settings import FusionSettings
from swarm.members.fusion.loading import Lexicon
from swarm.members.fusion.option_choice import choose_options, written_option
from swarm.members.fusion.token_choosers import MainAlone, TokenChooser
from swarm.members.fusion.vocabulary import read_vocabulary
from swarm.programs.deepen.models import read_embeddings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AskedQuestion:
    """A question as the models are asked it.

    Attributes:
      prompts: what each model reads, the main one first.
      options: what may be answered, where that is a choice.
    """

    prompts: tuple[str, ...]
    options: tuple[str, ...] = ()


class Answerer:
    """Voices that answer together by one of the published processors.

    Attributes:
      count: what was decoded so far.
      seconds: how long that took.
      batch: questions at a time, fewer than were asked for where memory has run out.
      on_step: called after every token of a batch.
    """

    def __init__(
        self,
        fusion_models: Sequence[FusionModel],
        chooser: TokenChooser,
        settings: FusionSettings,
        processor: str,
        max_new_tokens: int,
        batch: int,
    ):
        """`processor` is "fused", "digit_vote" or "choice"."""
        if processor == "digit_vote":
            chooser = DigitVote(
                chooser, [read_vocabulary(fusion_model.tokenizer, fusion_model.name) for fusion_model in fusion_models]
            )
        self.fusion_models, self.settings, self.batch = fusion_models, settings, batch
        self.count, self.seconds = FusionCount(), 0.0
        self.on_step: Callable[[], object] = lambda: None
        self._chooser, self._choice, self._most = chooser, processor == "choice", max_new_tokens

    def answers(self, questions: Sequence[AskedQuestion]) -> Iterator[str]:
        """What is generated for each question, in their order, as soon as it and all before it are known.

        Raises UserError where one question alone does not fit into memory.
        """
        place = 0
        while place < len(questions):
            part = questions[place : place + self.batch]
            began = time.monotonic()
            try:
                for text in self._choices(part) if self._choice else self._texts(part):
                    self.seconds += time.monotonic() - began
                    place += 1
                    yield text
                    began = time.monotonic()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(len(part))

    def _texts(self, questions: Sequence[AskedQuestion]) -> Iterator[str]:
        known: dict[int, str] = {}
        given = 0
        for written in self._decoding().decode(self._prompts(questions), self._most):
            known[written.row] = written.text
            while given in known:
                yield known.pop(given)
                given += 1

    def _choices(self, questions: Sequence[AskedQuestion]) -> Iterator[str]:
        options = [question.options for question in questions]
        chosen = choose_options(self._decoding(), self._prompts(questions), options)
        for question, place in zip(questions, chosen, strict=True):
            yield written_option(question.prompts[0], question.options[place])

    def _decoding(self) -> FusedDecoding:
        decoding = FusedDecoding(self.fusion_models, self._chooser, self.settings)
        decoding.count, decoding.on_step = self.count, self.on_step
        return decoding

    def _prompts(self, questions: Sequence[AskedQuestion]) -> list[list[Prompt]]:
        """`[k][b]`; the templates bring their own special tokens."""
        prompts = []
        for index, fusion_model in enumerate(self.fusion_models):
            own = [Prompt(question.prompts[index], False) for question in questions]
            if not all(fusion_model.ids(prompt) for prompt in own):
                raise UserError(
                    f"a prompt is empty for {fusion_model.name}: give it a text in the config's prompt_template"
                )
            prompts.append(own)
        return prompts

    def _halve(self, size: int) -> None:
        if size == 1:
            raise UserError(
                "one question does not fit into memory beside the models: take fewer models, name more devices with "
                "-d0, -d1, ..., or shorten the prompts"
            )
        self.batch = size // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("out of memory; %d questions are now answered at a time", self.batch)


def chooser_of(
    fusion_models: Sequence[FusionModel],
    paths: Sequence[str],
    settings: FusionSettings,
    device: torch.device,
    trusted: bool,
) -> TokenChooser:
    """What chooses these models' tokens, on the step's `device`; the only one of them chooses alone.

    Only the main model's embeddings are copied there if they are elsewhere. Raises UserError for an artefact that was
    made for other models.
    """
    main, *others = fusion_models
    if not others:
        return MainAlone()
    lexicon = Lexicon(main.name, main.tokenizer, main.embeddings.to(device))
    # an artefact knows models by their files, whose numbers a model in half precision does not have any more
    saved = [read_embeddings(path, trusted) for path in paths] if settings.artefact else None
    return make_chooser([lexicon, *others], settings, saved)


def with_artefact(settings: FusionSettings, folder: Path | None, found: Path, made_anew: bool) -> FusionSettings:
    """The settings with the artefact that is to be used; says where anchors come from.

    `folder` was asked for; `found` is where the config's would be; `made_anew` says that options set the anchors.
    """
    if settings.space != "relative":
        return settings
    if folder is None and (made_anew or not (found / FACTS).is_file()):
        why = "the options say which" if made_anew else f"no artefact in {found}"
        log.info("anchors are worked out now (%s)", why)
        return settings
    if made_anew:
        raise UserError(f"--artefact {folder} brings its own anchors; leave out either it or the options about anchors")
    saved_rule(folder or found)  # sees that it is one
    log.info("artefact: %s", folder or found)
    return replace(settings, artefact=str(folder or found))
