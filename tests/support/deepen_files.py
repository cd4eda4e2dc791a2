"""Configs and data in the published program's layout, and where its real data lie."""

import copy
import json

import pytest
from kinds_of_tokenizers import SHARED

CONFIG = {
    "model_path": {"main_model_path": "models/one", "assist_model1_path": "someone/other-7b"},
    "probability_transfer_matrix_path": {
        "main_model_path": "/matrices/one_other/one.pth",
        "assist_model1_path": "/matrices/one_other/other.pth",
    },
    "file_path": {"dev_file_path": "", "test_file_path": "data/test.jsonl", "demon_file_path": "data/demos.jsonl"},
    "prompt_template": {
        "main_model_system_template": "<s>{}",
        "assist_model1_system_template": "[INST]{}",
        "instruction": "Answer these:\n",
        "instruction_parameter": {"key": ["question"], "template": "Question:{}\nAnswer:"},
        "demon_parameter": {"key": ["question", "answer"], "template": "Question:{}\nAnswer:{}\n"},
    },
    "run_parameter": {"max_new_tokens": 10},
    "result_process_parameter": {
        "early_stop_string_list": ["\n"],
        "split_key_before": ["\nAnswer:"],
        "split_key_behind": ["\n", "</s>", "<unk>", "\nQuestion:"],
    },
}
CHOICES = {
    "instruction": "",
    "instruction_parameter": {"key": ["question", "A", "B"], "template": "{}\nA. {}\nB. {}\nAnswer:"},
    "demon_parameter": {"key": ["question", "A", "B", "answer"], "template": "{}\nA. {}\nB. {}\nAnswer:{}"},
}


def config(**sections):
    """The config with some sections' fields replaced, or sections taken away (None)."""
    made = copy.deepcopy(CONFIG)
    for name, fields in sections.items():
        if fields is None:
            del made[name]
        else:
            made[name] |= fields
    return made


def write_lines(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf8")
    return path


def write_config(folder, content):
    path = folder / "conf.json"
    path.write_text(json.dumps(content))
    return path


def real_data(name):
    """A published data file; skips where it is not at hand."""
    path = SHARED / "data" / "deepen" / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path
