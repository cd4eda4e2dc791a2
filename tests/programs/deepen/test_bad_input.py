"""What cannot be done is said in one line, before a model is loaded where that is possible."""

import json
import shutil

import pytest
from deepen_world import CHOICES, deepen, write_world
from kinds_of_tokenizers import words as whole_words

from swarm.programs.deepen import matrix, picture, run, sweep
from swarm.programs.deepen.result_file import read_results, result_name


@pytest.fixture
def refused(capsys):
    """Checks that a call ends with one line that says this."""

    def check(said, *words):
        assert deepen(*words) == 2
        error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning")]
        assert len(error) == 1 and said in error[0], error

    return check


@pytest.fixture
def nothing_loaded(monkeypatch):
    for module, name in (
        (run, "load_fusion_models"),
        (sweep, "load_fusion_models"),
        (matrix, "load_lexicons"),
        (picture, "load_lexicons"),
    ):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("a model is loaded"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-em tas4", "-em is 'tas4'; wanted one of vanilla, tas, tas2, tas2+mas2, tas+mas"),
        ("-lpm based_on_probility_transfer_logits_local_processor", "wanted one of fused, digit_vote, choice, "),
        ("-rm train", "-rm is 'train'; wanted one of dev, test"),
        ("-ew 0.5", "-ew has 1 weights (0.5); wanted 2"),
        ("-d1 cuda:77", "-d1 is 'cuda:77'; this machine has "),
        ("-dp mps", "-dp is 'mps'; wanted cpu or cuda:<number>"),
        ("--dtype float8", "--dtype is 'float8'; wanted one of float32, bfloat16, float16"),
        ("--limit 0", "--limit is 0; wanted at least 1"),
        ("--batch -1", "--batch is -1; wanted at least 1"),
        ("--space flat", "space is 'flat'; wanted one of: relative, union, mapped"),
        ("--inverse exact", "inverse 'exact' is none of adamw, em, none"),
        ("--bridge loose", "bridge is 'loose'; wanted one of: exact, legacy"),
        ("--gate 0", "gate is 0.0; wanted more than 0"),
        ("--weigh perplexity -ew 0.5 0.5", "--weigh perplexity and -ew both set the weights of the models"),
        ("--anchor_count 5", "--anchor_count 5 has no effect on all common tokens; add --anchors random"),
        ("--anchors random", "anchors 'random' asks for anchor_count"),
        ("--artefact nowhere", "nowhere holds no artefact of a fusion; build it again with"),
        ("--artefact nowhere --centre", "brings its own anchors; leave out either it or the options about anchors"),
        ("-lpm choice", "has no choices A, B, ...; -lpm choice needs them"),
    ],
)
def test_flags(conf, refused, nothing_loaded, words, said):
    refused(said, "run", "--config", conf, "-lr", "0.15", "-rsd", conf.parent / "res", *words.split())


@pytest.mark.parametrize(
    ("section", "fields", "said"),
    [
        ("model_path", {"main_model_path": "/no/where"}, "model /no/where is not there; wanted a model's folder"),
        ("model_path", {"helper": "x"}, "model_path has main_model_path, assist_model1_path, helper; wanted"),
        ("file_path", {"dev_file_path": ""}, "file_path.dev_file_path is empty"),
        ("file_path", {"dev_file_path": "no.jsonl"}, "no.jsonl"),
        ("run_parameter", {"max_new_tokens": "ten"}, 'run_parameter.max_new_tokens is "ten"; wanted a whole number'),
        ("prompt_template", {"main_model_system_template": "<s>"}, "wanted a text with one {}"),
    ],
)
def test_configs(tmp_path, models, refused, nothing_loaded, section, fields, said):
    conf = write_world(tmp_path, models, **{section: fields})
    refused(said, "run", "--config", conf, "-lr", "0.15", "-rsd", tmp_path / "res")


def test_matrix_sweep_and_picture(conf, models, refused, nothing_loaded):
    one = models / "one"
    refused("matrix needs either --config conf.json or --models", "matrix")
    refused("matrix --models needs --out FOLDER", "matrix", "--models", one, one)
    refused("one model", "matrix", "--models", one, "--out", conf.parent / "x")
    refused("is not there; wanted a model's folder", "matrix", "--models", one, "./nowhere", "--out", conf.parent / "x")
    refused("picture needs either --config", "picture", "--tokens", " the")
    refused("--tokens has only ' the'; wanted at least two", "picture", "--models", one, "--tokens", " the")
    words = ("picture", "--models", one, "--tokens", " the", " cat", "--out", conf.parent)
    refused("is a folder; name a file, such as", *words)
    asked = ("sweep", "--config", conf, "--out", conf.parent / "out")
    refused("--model_counts has 3; wanted numbers from 1 to 2", *asked, "--model_counts", "3")
    refused("--anchor_counts has 'many'; wanted numbers from 1 on, or all", *asked, "--anchor_counts", "many")
    refused("leave --anchor_count out", *asked, "--anchor_count", "5", "--anchors", "random")
    refused("-lr is -1.0", *asked, "-lr", "0.1", "-1")
    refused("--task is 'squad'", *asked, "--task", "squad")
    refused("-ew has 3 weights; wanted 2", *asked, "-ew", "1", "1", "1")


def test_an_artefact_of_other_models(conf, models, refused, tmp_path):
    other = tmp_path / "other"
    assert deepen("matrix", "--models", models / "one", models / "three", "--out", other) == 0
    words = ("run", "--config", conf, "-lr", "0.15", "-rsd", tmp_path / "res")
    refused("was not made with the tokenizer and the embedding matrix of two", *words, "--artefact", other)
    assert read_results(tmp_path / "res" / result_name(0.15, 5)) == []
    assert deepen(*words) == 0, "a run that has answered nothing binds nobody"
    refused("is there and holds no fusion.json", "matrix", "--config", conf, "--out", tmp_path / "res")


def test_places_that_cannot_be_written(conf, refused, nothing_loaded):
    asked = ("--config", conf, "-lr", "0.15", "--limit", "1")
    refused("cannot be written (", "run", *asked, "-rsd", conf)
    refused("cannot be made (", "sweep", *asked, "--out", conf / "below")


def test_an_artefact_holds_for_a_model_in_half_precision(conf, tmp_path):
    assert deepen("matrix", "--config", conf) == 0
    words = ("run", "--config", conf, "-lr", "0.15", "-rsd", tmp_path / "res", "--dtype", "bfloat16")
    assert deepen(*words) == 0


def test_a_tokenizer_without_a_decoder(conf, models, refused, tmp_path):
    shutil.copytree(models / "two", tmp_path / "two")
    for file in tmp_path.glob("two/tokenizer*"):
        file.unlink()
    whole_words(split=False).save_pretrained(tmp_path / "two")
    content = json.loads(conf.read_text())
    content["model_path"]["assist_model1_path"] = str(tmp_path / "two")
    conf.write_text(json.dumps(content))
    refused("tokenizer of two", "matrix", "--config", conf)


def test_options_that_begin_alike(tmp_path, models, refused):
    conf = write_world(tmp_path, models, records=CHOICES, demos=[])
    words = ("run", "--config", conf, "-lr", "0.15", "-rsd", tmp_path / "res", "-lpm", "choice", "--options")
    refused("options 'the' and 'the cat' begin with the same token for one", *words, "the", "the cat")
