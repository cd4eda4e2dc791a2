"""Metrics that ask a model, beside a plain restatement of their papers' formulas, one pair at a time."""

import logging

import pytest
import sentence_transformers
import torch
from safetensors.torch import load_file, save_file
from scorers import make_bart, make_bert, make_roberta, make_sentence_model, make_t5
from tiny import make_base
from transformers import AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer

from swarm.errors import UserError
from swarm.metrics import bartscore, bertscore
from swarm.metrics.table import get_metric, get_preset

PAIRS = [
    ("the cat sat on the mat .", "a cat sat on a mat ."),
    ("dog", "the dog ran by the red door , the green door"),
    ("what is red ? red is one , green is two .", "yes"),
    ("no", "no"),
    ("  blue  ", "blue green"),
    ("unheard words", "the cat ran under the mat ."),
]
ANSWERS, REFERENCES = map(list, zip(*PAIRS, strict=True))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="module")
def bart(tmp_path_factory):
    return make_bart(tmp_path_factory.mktemp("models") / "bart")


def plain_bertscore(folder, answer, reference, layer):
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def vectors(text):
        ids = tokenizer(text.strip(), return_tensors="pt")
        with torch.no_grad():
            return model(**ids, output_hidden_states=True).hidden_states[layer][0].double()

    own, other = vectors(answer), vectors(reference)
    table = [[torch.cosine_similarity(x, y, dim=0).item() for y in other] for x in own]
    precision = sum(max(row) for row in table[1:-1]) / (len(own) - 2)
    columns = list(zip(*table, strict=True))
    recall = sum(max(column) for column in columns[1:-1]) / (len(other) - 2)
    return 2 * precision * recall / (precision + recall)


def plain_bartscore(folder, answer, reference):
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    target = tokenizer(reference)["input_ids"]
    total = 0.0
    for index, token in enumerate(target):
        before = torch.tensor([[model.config.decoder_start_token_id, *target[:index]]])
        with torch.no_grad():
            logits = model(**tokenizer(answer, return_tensors="pt"), decoder_input_ids=before).logits
        total += logits[0, -1].double().log_softmax(-1)[token].item()
    return total / len(target)


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_bertscore_is_the_papers_formula(bert, layer):
    scores = get_metric("bertscore", model=str(bert), layer=layer, batch=4).score(ANSWERS, REFERENCES)
    assert scores == pytest.approx([plain_bertscore(bert, *pair, layer) for pair in PAIRS], abs=1e-5)
    assert scores[3] == pytest.approx(1.0) and max(scores) <= 1 + 1e-5
    assert len({round(score, 4) for score in scores}) == len(scores)


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_bartscore_is_the_papers_formula(bart, family, tmp_path):
    bart = bart if family == "bart" else make_t5(tmp_path / "t5")
    scores = get_metric("bartscore", model=str(bart), batch=4).score(ANSWERS, REFERENCES)
    assert scores == pytest.approx([plain_bartscore(bart, *pair) for pair in PAIRS], abs=1e-5)
    assert max(scores) < 0 and len(set(scores)) == len(scores)


@pytest.mark.parametrize("name", ["bertscore", "bartscore", "cosine"])
def test_a_pair_scores_as_it_does_alone(name, bert, bart, monkeypatch):
    monkeypatch.setattr(bertscore, "_BLOCK", 4)
    monkeypatch.setattr(bartscore, "_BLOCK", 4)
    metric = get_metric(name, model=str({"bertscore": bert, "bartscore": bart, "cosine": bert}[name]), batch=5)
    together = metric.score(ANSWERS, REFERENCES)
    assert together == pytest.approx([metric.score([a], [b])[0] for a, b in PAIRS], abs=1e-5)
    assert metric.score(ANSWERS[::-1], REFERENCES[::-1]) == pytest.approx(together[::-1], abs=1e-5)
    assert metric.score([], []) == []


def test_empty_answers_are_scored(bert, bart):
    assert get_metric("bertscore", model=str(bert)).score(["", " ", "cat"], ["cat", "cat", ""]) == [0, 0, 0]
    assert -100 < get_metric("bartscore", model=str(bart)).score([""], ["cat"])[0] < 0
    assert get_metric("cosine", model=str(bert)).score([""], [""]) == pytest.approx([1.0])


def test_too_long_texts_are_cut_and_said(bert, bart, caplog):
    long = "the cat sat " * 20
    for name, model in (("bertscore", bert), ("bartscore", bart)):
        metric = get_metric(name, model=str(model))
        assert metric.settings()["window"] == 24
        with caplog.at_level(logging.WARNING):
            [score] = metric.score([long], ["the cat"])
        assert f"metric {name}: 1 of" in caplog.text and "longer than 24 tokens" in caplog.text
        assert score == pytest.approx(metric.score([" ".join(long.split()[:22])], ["the cat"])[0], abs=1e-5)
        caplog.clear()


def test_settings_name_the_model_by_content(bert, tmp_path):
    settings = get_metric("bertscore", model=str(bert)).settings()
    assert settings["layer"] == 3 and settings["idf"] is False and settings["rescale_with_baseline"] is False
    other = get_metric("bertscore", model=str(make_bert(tmp_path / "other", seed=1)), layer=3).settings()
    assert {key for key in other if other[key] != settings[key]} == {"model", "digest"}


def test_bartscore_takes_other_weights(bart, tmp_path):
    other = make_bart(tmp_path / "other", seed=1)
    model = AutoModelForSeq2SeqLM.from_pretrained(other)
    save_file({name: tensor.clone() for name, tensor in model.state_dict().items()}, tmp_path / "para.safetensors")
    exchanged = get_metric("bartscore", model=str(bart), weights=str(tmp_path / "para.safetensors"))
    scores = exchanged.score(ANSWERS, REFERENCES)
    assert scores == pytest.approx(get_metric("bartscore", model=str(other)).score(ANSWERS, REFERENCES), abs=1e-6)
    plain = get_metric("bartscore", model=str(bart))
    assert plain.score(ANSWERS, REFERENCES) != pytest.approx(scores, abs=0.01)
    assert exchanged.settings()["weights_digest"] and plain.settings()["weights_digest"] is None


def test_weights_that_do_not_fit_are_refused(bart, tmp_path):
    tensors = load_file(bart / "model.safetensors")
    name = "model.encoder.layers.0.fc1.weight"
    for change, said in (
        ({key: value for key, value in tensors.items() if key != name}, f"lacks {name}"),
        (tensors | {"other": torch.ones(1)}, "has the strange other"),
        (tensors | {name: torch.ones(2, 2)}, f"has other shapes of {name}"),
    ):
        save_file(change, tmp_path / "w.safetensors")
        with pytest.raises(UserError, match=f"metric bartscore: .*{said}"):
            get_metric("bartscore", model=str(bart), weights=str(tmp_path / "w.safetensors"))
    (tmp_path / "bart_score.pth").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no safetensors file.*Convert it: python -c"):
        get_metric("bartscore", model=str(bart), weights=str(tmp_path / "bart_score.pth"))


@pytest.mark.parametrize("name", ["bertscore", "bartscore"])
def test_a_model_that_cannot_be_had_is_one_line(name, tmp_path):
    with pytest.raises(UserError, match=rf"^metric {name}: .*from the hub") as caught:
        get_preset("mixinstruct-paper", name)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=rf"^metric {name}: .*no config\.json"):
        get_metric(name, model=str(tmp_path))


def test_a_model_of_another_kind_is_refused(bert, tmp_path):
    with pytest.raises(UserError, match="metric bartscore: model .* cannot be loaded"):
        get_metric("bartscore", model=str(bert))
    with pytest.raises(UserError, match="metric bertscore: layer is 7; wanted one of .*, from 0 to 3"):
        get_metric("bertscore", model=str(bert), layer=7)
    pickled = make_bert(tmp_path / "pickled")
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(UserError, match="metric bertscore: .* has no safetensors weights; save it once"):
        get_metric("bertscore", model=str(pickled))


def test_mean_hidden_states_of_a_causal_model(tmp_path):
    base = make_base(tmp_path / "base")
    metric = get_metric("cosine", model=str(base), layer=1)
    answers, references = ["red green blue", "one", "what is"], ["red green", "one", "no two yes"]
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModel.from_pretrained(base).eval()

    def mean(text):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[1]
        return states[0].double().mean(0)

    wanted = [torch.cosine_similarity(mean(a), mean(b), dim=0).item() for a, b in zip(answers, references, strict=True)]
    assert metric.score(answers, references) == pytest.approx(wanted, abs=1e-5)
    assert metric.settings()["pooling"] == "mean of hidden states"


def test_a_sentence_transformers_model(tmp_path):
    folder = make_sentence_model(tmp_path / "sentences")
    metric = get_metric("cosine", sentence_model=str(folder))
    answers, references = ["the cat sat", "red", "dog"], ["a dog ran", "red", "the mat ."]
    encoder = sentence_transformers.SentenceTransformer(str(folder), device="cpu")

    def alone(text):
        return torch.tensor(encoder.encode([text])[0]).double()

    pairs = zip(answers, references, strict=True)
    wanted = [torch.cosine_similarity(alone(a), alone(b), dim=0).item() for a, b in pairs]
    assert metric.score(answers, references) == pytest.approx(wanted, abs=1e-5)
    assert metric.settings()["sentence_transformers"] and len(metric.settings()["digest"]) == 64
    with pytest.raises(UserError, match="^metric cosine: .* from the hub"):
        get_metric("cosine", sentence_model="nobody/nothing")


def test_positions_that_no_token_gets_are_not_in_the_window(tmp_path):
    metric = get_metric("bertscore", model=str(make_roberta(tmp_path / "roberta")))
    assert metric.settings()["window"] == 24  # of 26 positions, two lie before the first token
    assert 0 < metric.score(["the cat sat on " * 20], ["the cat"])[0] < 1
