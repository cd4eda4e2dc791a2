"""What is trained is what is asked: the same tokens, for every eval and every chat template."""

import json

import pytest
from finetuning import BASE, SECOND, finetune, lines, read, recipe
from transformers import AutoTokenizer

from swarm.data.load import load_dataset
from swarm.data.source import Source
from swarm.engines.local.chat_template import rendered
from swarm.errors import UserError
from swarm.evals import EVALS, get_eval
from swarm.system.prompts import node_prompt
from swarm.training.tokens import IGNORED, token_rows

MARKED = (
    "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|end|>"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]"
    "{% endif %}"
)
STRIPPING = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]\n{{ m.content | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n<think>\n\n</think>\n{% endif %}"
)
TURNS = (
    "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>"
    "{% else %}{{ strftime_now('%Y') }}{% endif %}"
)
RECORDS = [
    {"question": "Which is red?", "choices": {"A": "a rose", "B": "the sea"}, "answer": "A"},
    {"question": "How high? ", "choices": {"A": "2 m", "B": "3 m"}, "answer": "B", "context_chunks": ["Three.", "No."]},
]
NAMED = [*EVALS, "metric:rougeL", "mine.py:mine"]


def asked_tokens(path, evaluation, tokenizer, chat):
    """The tokens that an engine puts to a node without predecessors."""
    dataset = load_dataset(Source(str(path)))
    params = evaluation.params(dataset)
    queries = next(evaluation.judge(dataset, dataset.dev))
    wanted = []
    for query in queries:
        used = params if chat is None else type(params)(params.max_new_tokens, chat)
        [text], special = rendered(tokenizer, [node_prompt(query, [])], used)
        wanted.append(tokenizer(text, add_special_tokens=special)["input_ids"])
    return wanted, params.chat


@pytest.mark.parametrize("template", [None, MARKED, STRIPPING, TURNS], ids=["none", "marked", "stripping", "turns"])
@pytest.mark.parametrize("name", NAMED)
def test_the_trained_prompt_is_the_asked_prompt(tmp_path, monkeypatch, name, template):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def mine(reply, example):\n    return 1.0\n")
    content = {"dev": RECORDS, "test": RECORDS, "icl_prompt": "Think."}
    for chat in (None, True, False):
        (tmp_path / "words.json").write_text(
            json.dumps(content | ({} if chat is None else {"generation": {"chat": chat}}))
        )
        tokenizer = AutoTokenizer.from_pretrained(SECOND if name == "exact_match" else BASE)
        tokenizer.chat_template = template
        evaluation = get_eval(name, lambda: None)
        wanted, in_chat = asked_tokens(tmp_path / "words.json", evaluation, tokenizer, None)
        samples = read(tmp_path / "words.json", eval=name).samples
        assert [sample.in_chat for sample in samples] == [in_chat] * 2
        rows = token_rows(tokenizer, samples, template is not None, 4096)
        for ids, labels, asked in zip(rows.input_ids, rows.labels, wanted, strict=True):
            assert ids[: int((labels != IGNORED).argmax())].tolist() == asked


@pytest.mark.parametrize("template", [MARKED, TURNS], ids=["marked", "turns"])
def test_what_a_file_tells_the_template_is_trained_too(tmp_path, template):
    told = {"chat": True, "system_message": "Be brief.", "chat_template_kwargs": {"effort": "low"}}
    path = tmp_path / "words.json"
    path.write_text(json.dumps({"dev": RECORDS, "test": RECORDS, "generation": told}))
    tokenizer = AutoTokenizer.from_pretrained(SECOND)
    tokenizer.chat_template = "{{ effort }}" + template
    wanted, _ = asked_tokens(path, get_eval("exact_match", lambda: None), tokenizer, None)
    rows = token_rows(tokenizer, read(path, eval="exact_match").samples, True, 4096)
    for ids, labels, asked in zip(rows.input_ids, rows.labels, wanted, strict=True):
        assert ids[: int((labels != IGNORED).argmax())].tolist() == asked
        assert tokenizer.decode(asked).startswith("low") and "Be brief." in tokenizer.decode(asked)


def test_questions_with_choices_are_asked_without_the_template_as_the_search_asks_them(tmp_path):
    """Beside a conversation in the template, in one recipe; `chat` in the recipe goes before the eval's form."""
    path = lines(tmp_path / "a.jsonl", RECORDS[0])
    tokenizer = AutoTokenizer.from_pretrained(SECOND)
    tokenizer.chat_template = MARKED
    plain, talk = read(path).samples[0], read(lines(tmp_path / "b.jsonl", {"prompt": "Hi", "completion": "ho"}))
    rows = token_rows(tokenizer, [plain, *talk.samples, plain], True, 4096)
    first, middle, last = (tokenizer.decode(ids) for ids in rows.input_ids)
    assert first == last and "[user]" not in first and "[user]" in middle


@pytest.mark.parametrize(
    ("record", "name", "said"),
    [
        ({"question": "q", "answer": "a"}, "multiple_choice", "dev record 0 has no choices"),
        ({"question": "q", "answer": "a"}, "exact_mtach", "no eval 'exact_mtach'"),
    ],
)
def test_what_an_eval_cannot_ask_is_refused(tmp_path, record, name, said):
    path = lines(tmp_path / "a.jsonl", record)
    with pytest.raises(UserError, match=said):
        read(path, eval=name)
    assert read(path, eval="exact_match").samples[0].question == "q"


def test_an_expert_tells_which_questions_it_learned(tmp_path, capsys):
    """And a search that scores it on them warns, with their number, in whatever form they come."""
    from swarm.data.overlap import LEARNED, warn_of_learned

    path = lines(tmp_path / "a.jsonl", {"question": "A-B:3 ; is it?", "answer": "yes"},
                 {"question": "A-C:3 ; is it?", "answer": "no"})  # fmt: skip
    assert finetune(recipe(tmp_path, {"name": "one"}, data=[str(path)], steps=1, batch_size=1)) == 0
    folder = tmp_path / "out" / "one"
    rows = [{"question": "a-b:3 ;  IS it", "answer": "yes"}, {"question": "A-C:4 ; is it?", "answer": "no"}]
    data = lines(tmp_path / "b.jsonl", *(row | {"split": split} for row in rows for split in ("dev", "test")))
    dataset = load_dataset(str(data))
    capsys.readouterr()
    warn_of_learned(dataset, {"one": folder, "unknown": BASE})
    told = capsys.readouterr().err
    assert "expert one was trained on 1 of 2 dev and 1 of 2 test questions" in told
    (folder / LEARNED).write_text("{}")
    with pytest.raises(UserError, match="is damaged, wanted a list of texts in JSON; delete it") as refused:
        warn_of_learned(dataset, {"one": folder})
    (folder / str(refused.value).split(" is damaged")[0].rpartition("/")[2]).unlink()
    warn_of_learned(dataset, {"one": folder})
