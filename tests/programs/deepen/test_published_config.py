"""Published configs are read unchanged; what is wrong with one is said."""

import json
import logging

import pytest
from deepen_files import CHOICES, CONFIG, config, write_config, write_lines

from swarm.errors import UserError
from swarm.programs.deepen.published_config import read_published_config
from swarm.programs.deepen.published_data import read_demos, read_questions
from swarm.programs.deepen.published_prompts import cut_generated, prompts

DEMOS = [{"question": "1+1", "answer": "2"}, {"question": "a {}?", "answer": "b"}]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with the config in a folder below it."""
    (tmp_path / "confs").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "confs"


def test_every_field(folder, caplog):
    with caplog.at_level(logging.INFO):
        read = read_published_config(write_config(folder, CONFIG))
    assert [(model.path, model.template) for model in read.models] == [
        ("models/one", "<s>{}"), ("someone/other-7b", "[INST]{}"),
    ]  # fmt: skip
    assert str(read.models[1].matrix) == "/matrices/one_other/other.pth"
    assert (read.dev, str(read.test), str(read.demos)) == (None, "data/test.jsonl", "data/demos.jsonl")
    assert (read.instruction, read.task.fields, read.task.text) == (
        "Answer these:\n", ("question",), "Question:{}\nAnswer:",
    )  # fmt: skip
    assert (read.demo.fields, read.max_new_tokens, read.stop) == (("question", "answer"), 10, ("\n",))
    assert read.cutting.before == ("\nAnswer:",) and read.cutting.behind[-1] == "\nQuestion:"
    assert not caplog.records, "nothing is ignored"
    assert read.data("test") == read.test
    with pytest.raises(UserError, match="dev_file_path is empty"):
        read.data("dev")


def test_relative_paths_are_the_working_directorys_else_the_configs(folder):
    read = write_config(folder, CONFIG)
    write_lines(folder / "data" / "test.jsonl", DEMOS)
    (folder / "models" / "one").mkdir(parents=True)
    assert read_published_config(read).test == folder / "data" / "test.jsonl"
    assert read_published_config(read).models[0].path == str(folder / "models" / "one")
    assert read_published_config(read).models[1].path == "someone/other-7b", "a hub id stays"
    write_lines(folder.parent / "data" / "test.jsonl", DEMOS)
    assert str(read_published_config(read).test) == "data/test.jsonl"


def test_a_baseline_names_more_matrices_and_templates_than_models(folder, caplog):
    """As the published configs of single models do."""
    alone = config(run_parameter={"device": "cuda:0", "learning_rate": 0.5, "anchor_point_count": 16000})
    del alone["model_path"]["assist_model1_path"]
    with caplog.at_level(logging.INFO):
        assert len(read_published_config(write_config(folder, alone | {"note": 1})).models) == 1
    (line,) = [record.getMessage() for record in caplog.records]
    for name in (
        "probability_transfer_matrix_path.assist_model1_path", "prompt_template.assist_model1_system_template",
        "run_parameter.device", "run_parameter.learning_rate", "run_parameter.anchor_point_count", "note",
    ):  # fmt: skip
        assert name in line
    assert "main_model" not in line


def test_many_models_are_in_the_order_of_their_numbers(folder):
    many = config()
    for number in (10, 2):
        many["model_path"][f"assist_model{number}_path"] = f"m{number}"
        many["prompt_template"][f"assist_model{number}_system_template"] = "{}"
    read = read_published_config(write_config(folder, many))
    assert [model.path for model in read.models] == ["models/one", "someone/other-7b", "m2", "m10"]
    assert read.models[2].matrix is None


def test_no_matrices_and_no_stop_strings_are_fine(folder):
    plain = config(probability_transfer_matrix_path=None)
    del plain["result_process_parameter"]["early_stop_string_list"]
    read = read_published_config(write_config(folder, plain))
    assert read.stop == () and read.models[0].matrix is None


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"model_path": None}, "model_path is missing; there are probability_transfer_matrix_path, file_path"),
        ({"model_path": {"helper_path": "x"}}, "helper_path; wanted main_model_path and"),
        ({"model_path": {"main_model_path": ""}}, 'main_model_path is ""; wanted a model\'s folder'),
        ({"model_path": {"main_model_path": 3}}, "main_model_path is 3; wanted a string"),
        ({"prompt_template": {"main_model_system_template": "<s>"}}, "wanted a text with one {} for the prompt"),
        ({"prompt_template": {"main_model_system_template": "{x}"}}, "wanted a text with one {} for the prompt"),
        ({"prompt_template": {"instruction_parameter": 7}}, "instruction_parameter is 7; wanted an object"),
        ({"prompt_template": {"instruction_parameter": {"key": ["question"], "template": "Q"}}}, "one {} for each of"),
        (
            {"prompt_template": {"demon_parameter": {"key": ["question"], "template": "{}"}}},
            "wanted question and answer",
        ),
        ({"run_parameter": {"max_new_tokens": 0}}, "max_new_tokens is 0; wanted a whole number from 1 on"),
        ({"run_parameter": {"max_new_tokens": True}}, "max_new_tokens is true"),
        ({"file_path": {"test_file_path": None}}, "test_file_path is null; wanted a string"),
        ({"result_process_parameter": {"split_key_before": ["a", "b", "c"]}}, "wanted one or two strings"),
        ({"result_process_parameter": {"split_key_behind": [""]}}, "list of strings that are not empty"),
    ],
)
def test_a_wrong_field_is_named(folder, sections, said):
    with pytest.raises(UserError) as error:
        read_published_config(write_config(folder, config(**sections)))
    assert said in str(error.value) and "\n" not in str(error.value) and "conf.json" in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1]", "wanted a JSON object"),
        ("{", "not valid JSON"),
        (None, "there is no such config; name one with --config"),
    ],
)
def test_a_file_that_is_no_config(folder, content, said):
    if content:
        (folder / "conf.json").write_text(content)
    with pytest.raises(UserError, match=said):
        read_published_config(folder / "conf.json")


def test_a_missing_field_lists_those_there_are(folder):
    short = config()
    del short["prompt_template"]["assist_model1_system_template"]
    with pytest.raises(UserError, match="assist_model1_system_template is missing; there are main_model_system_tem"):
        read_published_config(write_config(folder, short))


def test_prompts_are_template_instruction_examples_and_task(folder):
    write_lines(folder.parent / "data" / "demos.jsonl", DEMOS)
    read = read_published_config(write_config(folder, CONFIG))
    demos = [demo.fields for demo in read_demos(read.demos)]
    asked = prompts(read, {"question": "x {0}", "answer": ["y"]}, demos, "line 1")
    text = "Answer these:\nQuestion:1+1\nAnswer:2\nQuestion:a {}?\nAnswer:b\nQuestion:x {0}\nAnswer:"
    assert asked == [f"<s>{text}", f"[INST]{text}"]
    with pytest.raises(UserError, match="line 1 has no question.*there are a"):
        prompts(read, {"a": 1}, [], "line 1")
    choices = read_published_config(write_config(folder, config(prompt_template=CHOICES)))
    (first, _) = prompts(choices, {"question": "q", "A": "x", "B": "y", "answer": "A"}, [], "line 1")
    assert first == "<s>q\nA. x\nB. y\nAnswer:"


def test_an_empty_demo_file_is_zero_shot_and_a_missing_one_an_error(folder, caplog):
    with caplog.at_level(logging.INFO):
        assert read_demos(None) == []
    assert "zero-shot" in caplog.text
    with pytest.raises(UserError, match="cannot be read"):
        read_demos(folder / "none.jsonl")


def cutting(*before, behind=("\n", "</s>")):
    from swarm.programs.deepen.published_config import Cutting

    return Cutting(before, tuple(behind))


def test_answers_as_the_published_program_cuts_them():
    prompt = "<s>Q:1\nAnswer:2\nQ:3\nAnswer:"
    cut = cutting("\nAnswer:")
    assert cut_generated(prompt, " 1950\n</s>", cut) == "1950"
    assert cut_generated(prompt, " 1\nAnswer: 2", cut) == "1"
    two = cutting("The answer is", "=")
    prompt = "Q\nThe answer is 4\nQ2\nAnswer:"
    said = "so 3 + 4.\nThe answer is 3 = 3 = 7 apples\nQ"
    assert cut_generated(prompt, said, two) == "7 apples"


def test_examples_that_hold_the_string_do_not_mislead():
    prompt = "Q: what follows\nAnswer: in print?\nAnswer:"
    assert cut_generated(prompt, " ink\n", cutting("\nAnswer:")) == "ink"
    assert cut_generated("Q\nSteps:", "it is 5", cutting("The answer is")) == "", "it never says so"


def test_fields_that_a_template_does_not_write_are_said(folder, caplog):
    """They may be there to be copied to the results."""
    more = {"key": ["question", "answer", "domain"], "template": "{} {}"}
    with caplog.at_level(logging.INFO):
        read = read_published_config(write_config(folder, config(prompt_template={"demon_parameter": more})))
    assert read.demo.fields == ("question", "answer", "domain")
    assert "demon_parameter.template has no {} for domain" in caplog.text
    with pytest.raises(UserError, match="one {} for each of question"):
        few = {"key": ["question"], "template": "{} {}"}
        read_published_config(write_config(folder, config(prompt_template={"instruction_parameter": few})))


def test_a_config_as_json_is_all_that_is_needed(folder):
    assert json.loads(json.dumps(CONFIG)) == CONFIG
    questions = read_questions(write_lines(folder / "q.jsonl", DEMOS))
    assert questions[1].question == "a {}?"
