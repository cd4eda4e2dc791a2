"""Pairwise ranking: PairRM's layout beside a plain restatement, and what is made of the comparisons."""

import json
import logging
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scorers import make_classifier, make_pairrm
from tiny import change_json
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, DebertaV2Model

from swarm.errors import UserError
from swarm.members.blending import pair_models
from swarm.members.blending.pair_models import load_pair_model
from swarm.members.blending.pairwise import best_first, pairwise_scores
from swarm.metrics.pairwise_metric import rank_answers

TRIPLES = [
    ("what is red ?", "the red cat", "a dog ran by the blue door"),
    ("what is red ?", "a dog ran by the blue door", "the red cat"),
    ("the cat sat on the mat . is the dog under it ?", "no", "yes , the dog is under the mat"),
    ("one", "", "two"),
]


@pytest.fixture(scope="module")
def pairrm(tmp_path_factory):
    return make_pairrm(tmp_path_factory.mktemp("models") / "pairrm")


def plain_pairrm(folder, prompt, first, second):
    tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    encoder = DebertaV2Model(config).eval()
    own = {key[len("pretrained_model.") :]: value for key, value in tensors.items() if key.startswith("pretrained")}
    encoder.load_state_dict(own)
    text = [tokenizer.encode(mark + part) for mark, part in
            (("<|source|>", prompt), ("<|candidate1|>", first), ("<|candidate2|>", second))]  # fmt: skip
    ids = torch.tensor([[token for part in text for token in part]])
    with torch.no_grad():
        states = encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
    marked = [states[(ids[0] == getattr(config, field)).nonzero()[0, 0]]
              for field in ("source_prefix_id", "cand1_prefix_id", "cand2_prefix_id")]  # fmt: skip

    def head(answer):
        hidden = tensors["head_layer.1.weight"] @ torch.cat([marked[0], answer]) + tensors["head_layer.1.bias"]
        return tensors["head_layer.4.weight"] @ torch.tanh(hidden) + tensors["head_layer.4.bias"]

    return (head(marked[1]) - head(marked[2])).mean().item()


def test_pairrm_is_what_its_layout_says(pairrm, monkeypatch):
    model = load_pair_model(str(pairrm), batch=3)
    monkeypatch.setattr(pair_models, "_BLOCK", 3)
    logits = model.compare(TRIPLES)
    assert logits == pytest.approx([plain_pairrm(pairrm, *triple) for triple in TRIPLES], abs=1e-4)
    assert np.abs(logits).min() > 1e-3 and model.asked == 4 and model.settings()["kind"] == "pairrm"
    assert logits == pytest.approx([model.compare([triple])[0] for triple in TRIPLES], abs=1e-4)


def test_a_text_that_holds_a_mark_does_not_shift_what_is_read(pairrm):
    model = load_pair_model(str(pairrm))
    [plain] = model.compare([("what is red ?", "red <|candidate2|> cat", "blue <|source|>")])
    wanted = plain_pairrm(pairrm, "what is red ?", "red cat", "blue")
    assert np.isfinite(plain) and plain != pytest.approx(wanted, abs=1e-6)


def test_long_texts_are_cut_and_said(pairrm, caplog):
    model = load_pair_model(str(pairrm))
    with caplog.at_level(logging.WARNING):
        [logit] = model.compare([("the cat " * 700, "dog " * 600, "red")])
    assert "2 texts are longer than" in caplog.text and len(caplog.records) == 1
    # a row is 2048 tokens, 1224 of them the prompt's at most: three of a part's tokens are its mark and its ends
    assert logit == pytest.approx(model.compare([("the cat " * 610 + "the", "dog " * 409, "red")])[0], abs=1e-4)
    with caplog.at_level(logging.WARNING):
        model.compare([("the cat " * 700, "dog", "red")])
    assert len(caplog.records) == 1  # said once
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        load_pair_model(str(pairrm)).compare([("one", "dog " * 900, "red")])
    assert not caplog.records  # what a prompt leaves over is its answers'


@pytest.mark.parametrize("labels", [1, 2])
def test_any_other_model_is_a_cross_encoder(tmp_path, labels, caplog):
    folder = make_classifier(tmp_path / "classifier", labels)
    model = load_pair_model(str(folder), batch=3)
    assert model.settings()["kind"] == "cross-encoder"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()

    def logit(prompt, first, second):
        text = f"[CLS] {prompt} [SEP] {first} [SEP] {second} [SEP]"
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            found = plain(input_ids=ids).logits[0].double()
        return found[0].item() if labels == 1 else (found[0] - found[1]).item()

    short = [TRIPLES[0], TRIPLES[1], TRIPLES[3]]
    assert model.compare(short) == pytest.approx([logit(*triple) for triple in short], abs=1e-4)
    with caplog.at_level(logging.WARNING):
        [cut] = model.compare([("the cat " * 9, "red", "blue")])
    assert "1 texts are longer than" in caplog.text
    assert cut == pytest.approx(logit("the cat " * 5, "red", "blue"), abs=1e-4)


def test_what_cannot_be_had_or_is_no_such_model(tmp_path, pairrm):
    with pytest.raises(UserError, match="^pairwise ranking: .*llm-blender/PairRM-hf.* from the hub") as caught:
        load_pair_model()
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="has 3 labels, wanted 1"):
        load_pair_model(str(make_classifier(tmp_path / "three", 3)))
    broken = make_pairrm(tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    del tensors["head_layer.4.bias"]
    save_file(tensors, broken / "model.safetensors")
    with pytest.raises(UserError, match=r"tensors under head_layer\. are not those of PairRM"):
        load_pair_model(str(broken))
    change_json(broken / "config.json", lambda config: config.update(cand1_prefix_id=7))
    with pytest.raises(UserError, match=r"<\|candidate1\|> is token .* of its tokenizer, wanted 7"):
        load_pair_model(str(broken))
    (broken / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has no safetensors weights"):
        load_pair_model(str(broken))
    (broken / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"^pairwise ranking: .*config\.json: not valid JSON"):
        load_pair_model(str(broken))
    assert json.loads((pairrm / "config.json").read_text())["n_tasks"] == 2


class Table:
    """Compares numbers written as texts, with a liking for what stands first."""

    def __init__(self, bias=0.0):
        self.bias, self.asked, self.batches = bias, 0, []

    def settings(self):
        return {"kind": "table"}

    def compare(self, triples):
        self.asked += len(triples)
        self.batches.append(len(triples))
        return np.array([float(first) - float(second) + self.bias for _, first, second in triples])


def test_all_pairs_by_hand():
    model = Table(bias=5.0)
    scores = pairwise_scores(model, ["p", "q", "r"], [("1", "4", "2"), (None, "4", "2"), ("3", None, None)])
    # the liking for the first answer cancels, as both orders are seen
    np.testing.assert_allclose(scores, [[-2, 2.5, -0.5], [np.nan, 2, -2], [0, np.nan, np.nan]])
    assert model.asked == 6 + 2 and model.batches == [8]


def test_the_best_come_first():
    rows = [("1", "4", "2"), (None, "4", "9"), ("3", "3", None), (None, None, None)]
    prompts = ["p"] * len(rows)
    assert best_first(Table(5.0), prompts, rows) == [[1, 2, 0], [2, 1], [0, 1], []]
    for mode in ("all", "bubble"):
        assert best_first(Table(), prompts, rows, mode, 1) == [[1], [2], [0], []]
    with pytest.raises(UserError, match="no mode 'knockout'"):
        best_first(Table(), prompts, rows, "knockout")
    assert best_first(Table(), [], []) == []


VALUES = st.lists(st.integers(0, 6), min_size=1, max_size=6)


@given(st.lists(VALUES, min_size=1, max_size=3), st.integers(1, 7), st.floats(-9, 9))
def test_bubbles_find_the_first_ranks(rows, top, bias):
    size = max(map(len, rows))
    texts = [[str(value) for value in row] + [None] * (size - len(row)) for row in rows]
    scores = pairwise_scores(Table(bias), ["p"] * len(rows), texts, "bubble", top)
    for row, found in zip(rows, scores, strict=True):
        order = sorted(range(len(row)), key=lambda index: -row[index])
        kept = min(top, size)
        wanted = [float(max(0, kept - order.index(index))) for index in range(len(row))]
        # of equals any may come first in a later sweep, but values fall with the points
        ranked = sorted(range(len(row)), key=lambda index: -found[index])
        assert sorted(found[: len(row)]) == sorted(wanted)
        assert [row[i] for i in ranked[:kept]] == [row[i] for i in order[:kept]]
        assert np.isnan(found[len(row) :]).all()


def test_a_bubble_costs_little():
    model = Table()
    pairwise_scores(model, ["p", "q"], [("1", "4", "2", "3")] * 2, "bubble")
    assert model.asked == 2 * 2 * 3 and model.batches == [4, 4, 4]
    all_of_them = Table()
    pairwise_scores(all_of_them, ["p", "q"], [("1", "4", "2", "3")] * 2)
    assert all_of_them.asked == 2 * 12
    again = Table()
    pairwise_scores(again, ["p"], [("1", "4", "2", "3")], "bubble", top=4)
    assert again.asked <= 12  # no pair is compared twice


def test_it_makes_a_score_matrix(pairrm):
    names = ("a", "b", "c")
    texts = [("red", "blue cat", "dog"), ("yes", "no", "one two")]
    model = load_pair_model(str(pairrm))
    ranked = rank_answers(model, ["what is red ?", "is it ?"], names, texts, split="val")
    assert ranked.scores.sum(axis=1) == pytest.approx([0, 0], abs=1e-6) and ranked.settings["mode"] == "all"
    assert (ranked.metric, ranked.split) == ("pairwise", "val")
    first = rank_answers(model, ["what is red ?", "is it ?"], names, texts, mode="bubble")
    assert first.settings["top"] == 1 and sorted(first.scores[0]) == [0, 0, 1]
    for change, said in (({"mode": "knockout"}, "no mode 'knockout'"), ({"mode": "bubble", "top": 0}, "top is 0")):
        with pytest.raises(UserError, match=said):
            rank_answers(model, ["p"], names, texts[:1], **change)
    with pytest.raises(UserError, match="row 0 has 2 answers, wanted 3"):
        rank_answers(model, ["p"], names, [("x", "y")])
    orders = [model.compare([("p", *pair)])[0] for pair in permutations(texts[0], 2)]
    assert len({round(order, 5) for order in orders}) == 6


def test_a_broken_model_ranks_nothing():
    with pytest.raises(UserError, match="no finite number for two answers in row 1"):
        pairwise_scores(Table(), ["p", "q"], [("1", "2"), ("1", "nan")])
