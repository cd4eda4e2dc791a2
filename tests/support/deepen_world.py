"""Three tiny models in folders, and configs in the published layout that name them."""

import json

from fusing import tiny_llama
from kinds_of_tokenizers import LINES, byte_level_bpe, sentence_piece_bpe

from swarm.programs.deepen.deepen import deepen_program
from swarm.programs.front_doors import guarded

DIGITS = [f"{number} + {number} = {2 * number}" for number in range(10)] * 2
LETTERS = ["which is A B C D"] * 4
QUESTIONS = [
    {"question": "the cat sat on the", "answer": ["mat", "door"]},
    {"question": "two  cats and three", "answer": ["dogs"]},
    {"question": "one, two, three: 12 + 30 =", "answer": ["42"]},
    {"question": "def answer(x):", "answer": ["return"]},
    {"question": "ran over the", "answer": ["café"]},
]
DEMOS = [{"question": "the dog sat by the", "answer": "door"}]
CHOICES = [
    {"question": "which sat?", "A": "the cat", "B": "the mat", "answer": "A"},
    {"question": "which ran?", "A": "one", "B": "two", "C": "three", "answer": "C"},
    {"question": "is it ok?", "A": "ok", "B": "not", "answer": "B"},
]


def save_models(folder):
    """Models "one", "two" and "three", with tokenizers of two kinds."""
    tokenizers = {
        "one": sentence_piece_bpe([*LINES, *DIGITS, *LETTERS], 520),
        "two": byte_level_bpe([*LINES, *DIGITS, *LETTERS], 420),
        "three": sentence_piece_bpe([*LINES[1:3] * 4, *DIGITS, *LETTERS], 440),
    }
    for seed, (name, tokenizer) in enumerate(tokenizers.items()):
        tiny_llama(tokenizer, seed, 64 if seed else 96).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def write_world(folder, models, names=("one", "two"), records=QUESTIONS, demos=DEMOS, **sections):
    """Data and a config in `folder`; `sections` replace fields of the config's."""
    keys = ["main_model", *(f"assist_model{number}" for number in range(1, len(names)))]
    fields = [key for key in records[0] if key not in ("question", "answer")]
    letters = "".join(f"\n{letter}. {{}}" for letter in fields)
    content = {
        "model_path": {f"{key}_path": str(models / name) for key, name in zip(keys, names, strict=True)},
        "probability_transfer_matrix_path": {
            f"{key}_path": str(folder / "matrices" / "_".join(names) / f"{name}.pth")
            for key, name in zip(keys, names, strict=True)
        },
        "file_path": {
            "dev_file_path": str(write_records(folder / "nq-dev.jsonl", records)),
            "test_file_path": str(write_records(folder / "nq-test.jsonl", records)),
            "demon_file_path": str(write_records(folder / "demos.jsonl", demos)) if demos else "",
        },
        "prompt_template": {
            **{f"{key}_system_template": "<s>{}" for key in keys},
            "instruction": "Answer these:\n",
            "instruction_parameter": {"key": ["question", *fields], "template": f"Question: {{}}{letters}\nAnswer:"},
            "demon_parameter": {
                "key": ["question", *fields, "answer"],
                "template": f"Question: {{}}{letters}\nAnswer: {{}}\n",
            },
        },
        "run_parameter": {"max_new_tokens": 8},
        "result_process_parameter": {
            "early_stop_string_list": ["\n"],
            "split_key_before": ["\nAnswer:"],
            "split_key_behind": ["\n", "</s>"],
        },
    }
    for name, section in sections.items():
        content[name] |= section
    path = folder / "conf.json"
    path.write_text(json.dumps(content))
    return path


def write_records(path, records):
    """JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf8")
    return path


def deepen(*words):
    """The exit code of scripts/deepen.py with these words, in this process."""
    return guarded(lambda: deepen_program([str(word) for word in words]))
