"""Texts handed on as the original program does; what is written stays a text all the same."""

import pytest
import torch
from fusing import fusion_model, tiny_llama
from kinds_of_tokenizers import byte_level_bpe, sentence_piece_bpe

from swarm.maths.member_weights import uniform
from swarm.members.fusion.build import make_chooser
from swarm.members.fusion.fused_decoding import FusedDecoding
from swarm.members.fusion.fusion_models import FollowingRow, Prompt
from swarm.members.fusion.fusion_settings import read_settings

PROMPT = "the cat sat on"


@pytest.fixture
def fusion_models():
    """The main one begins every answer to the prompt with a newline, a byte piece."""
    main, other = sentence_piece_bpe(), byte_level_bpe()
    model = tiny_llama(main, 0)
    newline = main.convert_tokens_to_ids("<0x0A>")
    with torch.no_grad():
        last = model.model(torch.tensor([main(PROMPT)["input_ids"]])).last_hidden_state[0, -1]
        model.lm_head.weight[newline] = last
    return [fusion_model("main", model, main), fusion_model("other", tiny_llama(other, 1, 96), other)]


def decode(fusion_models, bridge, monkeypatch, **record):
    """What is written, and the text that the other model is given."""
    settings = read_settings("here", {"learning_rate": 0.15, "bridge": bridge, **record}, 2)
    decoding = FusedDecoding(fusion_models, make_chooser(fusion_models, settings), settings)
    given = []
    extend = FollowingRow.extend
    monkeypatch.setattr(FollowingRow, "extend", lambda self, text: given.append(text) or extend(self, text))
    [written] = decoding.decode([[Prompt(PROMPT, True)]] * 2, 4, uniform(2)[None])
    return written, given


def test_pieces_are_handed_on_as_they_are_spelt(fusion_models, monkeypatch):
    written, given = decode(fusion_models, "legacy", monkeypatch)
    assert given[0] == "<0x0A>" and written.text.startswith("\n") and "<0x0A>" not in written.text
    written, given = decode(fusion_models, "exact", monkeypatch)
    assert given[0] == "\n" and written.text.startswith("\n")


@pytest.mark.parametrize("bridge", ["legacy", "exact"])
def test_a_stop_text_is_found_in_what_is_written(fusion_models, monkeypatch, bridge):
    written, given = decode(fusion_models, bridge, monkeypatch, stop=["\n"])
    assert written.text == "" and len(written.ids) == 1 and not given
