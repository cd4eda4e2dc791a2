"""The axes of the paper's tables: seeds, normalisation, losses, models by dev score, clusters, target languages."""

import json

import pytest
from deepen_world import QUESTIONS, deepen, write_records, write_world
from kinds_of_tokenizers import LINES, sentence_piece_bpe
from transformers import BartConfig, BartForConditionalGeneration

from swarm.programs.deepen import models as loading
from swarm.programs.deepen import sweep
from swarm.programs.deepen.order import in_order
from swarm.programs.deepen.published_config import read_published_config
from swarm.programs.deepen.published_metrics import score

FEW = ("--limit", "2", "-lr", "0.15", "-len", "2")


def rows(folder):
    return [json.loads(line) for line in (folder / "sweep.jsonl").read_text().splitlines()]


def test_a_sweep_over_seeds_and_normalisation_with_losses(tmp_path, models, monkeypatch, capsys):
    conf, out = write_world(tmp_path, models), tmp_path / "out"
    words = ("sweep", "--config", conf, "--out", out, *FEW, "--anchor_counts", "40", "all")
    axes = ("--anchor_seeds", "0", "1", "--normalisations", "on", "off", "--losses", "--inverse", "em")
    assert deepen(*words, *axes) == 0
    table = rows(out)
    places = {(row["anchors"], row["anchor_seed"], row["normalise"]) for row in table}
    assert places == {(40, seed, way) for seed in (0, 1) for way in (True, False)} | {
        ("all", 0, True),
        ("all", 0, False),
    }
    for row in table:
        assert len(row["losses"]) == 3 and row["losses"] == sorted(row["losses"], reverse=True), (
            "em lowers it each time"
        )
    one, other = (row["losses"] for row in table if row["anchors"] == 40 and row["normalise"])
    assert one != other, "other anchors"
    for name in ("anchor_seed", "normalise", "losses"):
        assert (out / f"sweep_{name}.png").is_file()
    assert ", loss " in capsys.readouterr().out
    monkeypatch.setattr(sweep, "load_fusion_models", lambda *_: pytest.fail("all points are there"))
    assert deepen(*words, *axes) == 0


def test_a_table_of_an_earlier_version_goes_on(tmp_path, models, monkeypatch):
    conf, out = write_world(tmp_path, models), tmp_path / "out"
    words = ("sweep", "--config", conf, "--out", out, *FEW)
    assert deepen(*words) == 0
    [row] = rows(out)
    write_records(out / "sweep.jsonl", [{name: row[name] for name in row if name not in ("anchor_seed", "normalise")}])
    monkeypatch.setattr(sweep, "load_fusion_models", lambda *_: pytest.fail("the point is there"))
    assert deepen(*words) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--anchor_seeds", "0", "1"), "--anchor_seeds 0 1 makes no difference: anchors are not drawn at random"),
        (("--anchor_seeds", "0", "--anchor_seed", "1", "--anchor_counts", "9"), "are both given"),
        (("--normalisations", "on", "--no_normalise"), "are both given"),
    ],
)
def test_axes_that_cannot_be(conf, tmp_path, capsys, words, said):
    assert deepen("sweep", "--config", conf, "--out", tmp_path / "out", *FEW, *words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_models_by_their_dev_score(tmp_path, models, monkeypatch, capsys):
    """A model that answers right goes first, with its path, template and matrix; the others keep their order."""
    conf = write_world(tmp_path, models, ("one", "two", "three"),
                       prompt_template={"assist_model2_system_template": "[three]{}"})  # fmt: skip
    from swarm.programs.deepen import order

    right = {question["question"]: question["answer"][0] for question in QUESTIONS}

    def answers(self, asked):
        for one in asked:
            text = one.prompts[0]
            yield next(answer for question, answer in right.items() if question in text) if "[three]" in text else "no"

    monkeypatch.setattr(order.Answerer, "answers", answers)
    out = tmp_path / "ordered.json"
    assert deepen("order", "--config", conf, "--out", out, "--limit", "3") == 0
    shown = capsys.readouterr().out
    assert f"1. {models / 'three'}: 1.000" in shown and f"2. {models / 'one'}: 0.000" in shown
    before, after = read_published_config(conf), read_published_config(out)
    assert [model.path for model in after.models] == [before.models[index].path for index in (2, 0, 1)]
    assert after.models == tuple(before.models[index] for index in (2, 0, 1))
    assert in_order(before, (0, 1, 2)) == json.loads(conf.read_text())
    assert deepen("order", "--config", conf, "--out", conf) == 2
    assert "is the config itself" in capsys.readouterr().err


def test_a_model_alone_is_asked_for_its_score(tmp_path, models, capsys):
    conf = write_world(tmp_path, models)
    assert deepen("order", "--config", conf, "--out", tmp_path / "new.json", "--limit", "1") == 0
    assert "on 1 dev questions of nq" in capsys.readouterr().out


def test_a_picture_in_clusters_with_tokens_of_one_vocabulary(tmp_path, models, conf, capsys):
    pytest.importorskip("sklearn")
    words = ("picture", "--config", conf, "--tokens", " the", " cat", "--out", tmp_path / "p.png")
    from swarm.programs.deepen.models import load_lexicons

    lexicons = load_lexicons([str(models / "one"), str(models / "two")], False)
    own = next(piece for piece in lexicons[0].tokenizer.get_vocab() if piece.startswith("▁") and len(piece) > 3
               and f"Ġ{piece[1:]}" not in lexicons[1].tokenizer.get_vocab())  # fmt: skip
    assert deepen(*words, "--own", own.replace("▁", " "), "--clusters", "2") == 0
    assert (tmp_path / "p.png").stat().st_size > 5000
    assert deepen(*words, "--own", "no such token of anybody") == 2
    assert "has no token" in capsys.readouterr().err
    assert deepen(*words, "--clusters", "5") == 2
    assert "--clusters is 5; wanted 2 to 4" in capsys.readouterr().err


@pytest.fixture
def translator(tmp_path):
    """A tiny encoder-decoder that has two target languages."""
    tokenizer = sentence_piece_bpe(LINES, 420)
    tokenizer.add_special_tokens({"additional_special_tokens": ["deu_Latn", "fra_Latn"]})
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=128,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=0,
        decoder_start_token_id=tokenizer.eos_token_id, forced_eos_token_id=None,
    )  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(tmp_path / "models" / "nllb")
    tokenizer.save_pretrained(tmp_path / "models" / "nllb")
    return tokenizer


def test_a_translator_writes_in_the_language_that_the_config_names(tmp_path, models, translator, monkeypatch, capsys):
    for name in ("one", "two"):
        (tmp_path / "models" / name).symlink_to(models / name)
    records = [{"question": "the cat sat", "answer": "die Katze saß"}, {"question": "two dogs", "answer": "zwei Hunde"}]
    conf = write_world(tmp_path, tmp_path / "models", ("one", "nllb"), records)
    content = json.loads(conf.read_text()) | {"target_language": {"assist_model1": "deu_Latn"}}
    conf.write_text(json.dumps(content))
    found = []
    load = loading.load_stepped_model
    monkeypatch.setattr(loading, "load_stepped_model", lambda *words: found.append(load(*words)) or found[-1])
    words = ("--config", conf, "-lr", "0.15", "-len", "2", "-rsd", tmp_path / "translation", "--limit", "1")
    assert deepen("run", *words) == 0
    assert found[1].stepper._given[-1] == translator.convert_tokens_to_ids("deu_Latn")
    recipe = next((tmp_path / "translation").glob("*.json"))
    assert json.loads(recipe.read_text())["languages"] == ["", "deu_Latn"]
    capsys.readouterr()
    assert deepen("eval", tmp_path / "translation") == 0
    assert "bleu " in capsys.readouterr().out
    conf.write_text(json.dumps(content | {"target_language": {"assist_model1": "klingon"}}))
    assert deepen("run", *words[:-4], "-rsd", tmp_path / "other") == 2
    error = capsys.readouterr().err
    assert "has no target language 'klingon'" in error and "deu_Latn, fra_Latn" in error


def test_translations_are_scored_by_sacrebleu():
    pytest.importorskip("sacrebleu")

    def record(said, *gold):
        return {"question": "q", "answer": list(gold), "prediction": said, "all": said, "model_answer": [said]}

    same = score("translation", [record("the cat sat on the mat", "the cat sat on the mat")] * 2)
    assert same.strict.mean == same.published.mean == 1 and same.corpus == pytest.approx({"bleu": 100, "chrf": 100})
    half = score(
        "translation", [record("the cat sat on a mat", "the cat sat on the mat", "a mat"), record("no", "yes")]
    )
    assert 0 < half.strict.mean < 1 and 0 < half.corpus["bleu"] < 100
