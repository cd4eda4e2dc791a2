"""Several answers fused into one by an encoder-decoder, as LLM-Blender's GenFuser does (arXiv 2306.02561, section 4).

The paper gives no more than "the prompt and the top answers, concatenated"; the format is that of its authors' program
(llm_blender/blender/blender_utils.py and blender.py of yuchenlin/LLM-Blender), with </s> for the end-of-text token:

    Instruction: </s>Input: PROMPT</s>Candidate 0: <extra_id_0>:ANSWER</s>Candidate 1: <extra_id_1>:ANSWER</s>
    Summarize candidates into a better one for the given instruction:

in one line and without further special tokens. The prompt stands behind Input, as it does there when no instruction is
given apart. An answer of more than 128 tokens is cut to them and gets three dots behind it; the whole is cut at its end
to 1024 tokens; decoding is a beam search of width 4 over at most 128 tokens, by default four prompts at a time.

The format was checked here on random weights only, not on the published ones, which lie on the hub's main branch as a
pickled file: name the safetensors that were offered there, llm-blender/gen_fuser_3b@refs/pr/1, or save it once with
save_pretrained.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch

from swarm.engines.local.positions import learned_positions
from swarm.engines.local.side_models import SideModel, in_batches, load_side_model
from swarm.engines.local.token_budget import is_out_of_memory
from swarm.errors import UserError
from swarm.members.blending.fuser_settings import NEW_TOKENS, PUBLISHED, WHAT, FuserSettings, check_fuser
from swarm.members.blending.usual import GEN_FUSER

log = logging.getLogger(__name__)


class Fuser:
    """An encoder-decoder that makes one answer of several.

    Attributes:
      fused, prompt_tokens, new_tokens: texts made so far, and what was read and written for them.
    """

    def __init__(self, loaded: SideModel, batch: int = 4):
        self._loaded, self._batch = loaded, batch
        self._positions = learned_positions(loaded.model)
        self._warned: set[str] = set()
        self.fused = self.prompt_tokens = self.new_tokens = 0

    def settings(self) -> dict[str, Any]:
        """The model's name and digest, as JSON can hold them."""
        return self._loaded.settings()

    def fuse(
        self,
        prompts: Sequence[str],
        answers: Sequence[Sequence[str]],
        max_new_tokens: int = NEW_TOKENS,
        settings: FuserSettings = PUBLISHED,
    ) -> list[str]:
        """One text for each prompt and its answers, the best of which comes first; the lists may differ in length.

        It is logged, the first time, how many answers or inputs are cut. A prompt's neighbours change its text by
        rounding only. Raises UserError if one input does not fit into the device's memory.
        """
        rows = self._rows(prompts, answers, settings)
        texts = [""] * len(rows)
        waiting = list(in_batches(rows, self._batch))[::-1]
        while waiting:
            batch = waiting.pop()
            try:
                written = self._written([rows[index] for index in batch], max_new_tokens, settings.beams)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                waiting += self._halves(batch)
                continue
            for index, text in zip(batch, written, strict=True):
                texts[index] = text
        self.fused += len(rows)
        self.prompt_tokens += sum(map(len, rows))
        return texts

    def source(self, prompt: str, answers: Sequence[str], settings: FuserSettings = PUBLISHED) -> str:
        """The model's input, untruncated but for the answers; see the top of this file."""
        end = self._loaded.tokenizer.eos_token or "</s>"
        candidates = [
            f"Candidate {index}: <extra_id_{index}>:{self._short(answer, settings.candidate_tokens)[0]}"
            for index, answer in enumerate(answers)
        ]
        request = "Summarize candidates into a better one for the given instruction:"
        return end.join(["Instruction: ", f"Input: {prompt}", *candidates, request])

    def _short(self, answer: str, most: int) -> tuple[str, bool]:
        """An answer truncated to so many tokens, and whether it was longer."""
        tokenizer = self._loaded.tokenizer
        ids = tokenizer(answer, add_special_tokens=False, verbose=False)["input_ids"]
        return (answer, False) if len(ids) <= most else (f"{tokenizer.decode(ids[:most])}...", True)

    def _rows(
        self, prompts: Sequence[str], answers: Sequence[Sequence[str]], settings: FuserSettings
    ) -> list[list[int]]:
        most = min(settings.input_tokens, self._positions or settings.input_tokens)
        sources = [self.source(prompt, own, settings) for prompt, own in zip(prompts, answers, strict=True)]
        whole = [self._loaded.tokenizer(source, add_special_tokens=False, verbose=False)["input_ids"]
                 for source in sources]  # fmt: skip
        self._tell(sum(len(row) > most for row in whole), "prompts with their answers", most)
        short = [self._short(answer, settings.candidate_tokens)[1] for own in answers for answer in own]
        self._tell(sum(short), "answers", settings.candidate_tokens)
        return [row[:most] for row in whole]

    def _tell(self, cut: int, what: str, most: int) -> None:
        if cut and what not in self._warned:
            self._warned.add(what)
            log.warning("%s: %d %s are longer than %d tokens; %s reads their beginning only", WHAT, cut, what, most,
                        self._loaded.name)  # fmt: skip

    def _written(self, rows: Sequence[Sequence[int]], max_new_tokens: int, beams: int) -> list[str]:
        ids, mask = self._loaded.padded(rows)
        if self._positions is not None:
            max_new_tokens = min(max_new_tokens, self._positions - 1)  # the decoder's first position is its start token
        with torch.inference_mode():
            found = self._loaded.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=max_new_tokens, num_beams=beams, do_sample=False,
                num_return_sequences=1,
            )  # fmt: skip
        self.new_tokens += int((found[:, 1:] != self._loaded.pad).sum())
        texts: list[str] = self._loaded.tokenizer.batch_decode(found, skip_special_tokens=True)
        return texts

    def _halves(self, batch: list[int]) -> list[list[int]]:
        if len(batch) == 1:
            raise UserError(
                f"{WHAT}: one prompt with its answers does not fit into the memory of {self._loaded.device} beside "
                "the models: take a smaller fuser, fewer input_tokens or beams, or a device with more memory"
            )
        self._batch = max(len(batch) // 2, 1)
        if self._loaded.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning("%s: out of memory; it now writes for %d prompts at a time", WHAT, self._batch)
        return [batch[self._batch :], batch[: self._batch]]


def load_fuser(name: str = GEN_FUSER, batch: int = 4, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Fuser:
    """The encoder-decoder that `name` (a folder or hub id, perhaps @ a revision) means.

    The published program loads it in bfloat16. Raises UserError if it cannot be had, is damaged, or is none.
    """
    check_fuser(name)
    return Fuser(load_side_model(WHAT, name, "AutoModelForSeq2SeqLM", device, dtype), batch)
