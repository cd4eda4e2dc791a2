"""System messages, arguments of chat templates and stop strings, asked of real tiny models."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from answers import answers_of
from repository import ROOT
from tiny import WORDS, change_json, make_pool
from transformers import AutoTokenizer, GenerationConfig

from swarm.engines.base import GenerationParams, Request
from swarm.engines.local.base_checks import check_template
from swarm.engines.local.chat_template import rendered
from swarm.engines.local.generation_settings import not_taken, special_stop, stopped
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.engines.sampling import Sampling
from swarm.errors import UserError
from swarm.members.members import read_members
from swarm.members.vote import asked_by
from swarm.programs import front_doors
from swarm.programs.command import command_program
from swarm.weights.pool import read_pool

PROMPTS = ["what is red", "is two blue yes no one", "no"]
CHAT = GenerationParams(6, chat=True)
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}no {% endif %}"
)
ALTERNATING = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
DROPS = "{% for m in messages if m.role != 'system' %}{{ m.content }} {% endfor %}"


def texts(pool, params):
    engine = InProcessEngine(read_pool(pool), device="cpu")
    return answers_of(engine, [Request(engine.pool.experts()[0], prompt, params) for prompt in PROMPTS])


@pytest.fixture
def place(tmp_path):
    """A pool, and its base's folder."""
    return make_pool(tmp_path), tmp_path / "base"


def change(path, **fields):
    change_json(path, lambda content: content.update(fields))


def tokenizer_with(base, template):
    change(base / "tokenizer_config.json", chat_template=template)
    return AutoTokenizer.from_pretrained(base)


def test_a_template_is_told_of_the_system_and_of_arguments(place):
    tokenizer = tokenizer_with(place[1], TEMPLATE)

    def told(**settings):
        return rendered(tokenizer, ["red"], replace(CHAT, **settings))[0]

    assert told() == ["user red "]
    assert told(system_message="green") == ["system green user red "]
    assert told(chat_template_kwargs=(("enable_thinking", False),)) == ["user red no "]
    [text], _ = rendered(tokenizer, ["red"], replace(CHAT, system_message="one"), [("what", "yes")])
    assert text == "system one user what assistant yes user red "


@pytest.mark.parametrize(
    ("template", "settings", "said"),
    [
        (ALTERNATING, {"system_message": "x"}, r"takes no system message \(no system role\): leave --system_message"),
        (DROPS, {"system_message": "x"}, r"takes no system message \(it drops it\)"),
        (TEMPLATE, {"chat_template_kwargs": (("enable_thinkin", True),)}, "did you mean 'enable_thinking'"),
        (TEMPLATE, {"chat_template_kwargs": (("zzz", True),)}, "knows no argument 'zzz' .* leave it out"),
        (None, {"system_message": "x"}, "has no chat template for --system_message: leave it out"),
        (None, {"chat_template_kwargs": (("a", 1),)}, "has no chat template for --chat_template_kwargs"),
    ],
)
def test_templates_that_cannot_be_told(place, template, settings, said):
    """Before a model is loaded, too."""
    pool, base = place
    tokenizer = tokenizer_with(base, template)
    for act in (
        lambda: rendered(tokenizer, ["red"], replace(CHAT, **settings)),
        lambda: check_template(read_pool(pool), replace(CHAT, **settings)),
    ):
        with pytest.raises(UserError, match=said) as told:
            act()
        assert "base" in str(told.value) and "\n" not in str(told.value)
    assert rendered(tokenizer, ["red"], CHAT)[0], "the cure"


def test_statements_of_transformers_own_are_no_hindrance(place):
    marked = "{% for m in messages %}{% generation %}{{ m.content }} {% endgeneration %}{% endfor %}{{ effort }}"
    tokenizer = tokenizer_with(place[1], marked)
    assert rendered(tokenizer, ["red"], replace(CHAT, chat_template_kwargs=(("effort", "low"),)))[0] == ["red low"]


def test_an_answer_ends_behind_the_first_stop_string(place):
    pool, _ = place
    plain = [completion.text for completion in texts(pool, GenerationParams(6))]
    params = GenerationParams(6, stop_strings=(plain[0].split()[1], "<eos>"))
    found = texts(pool, params)
    for completion, whole in zip(found, plain, strict=True):
        assert completion.text == stopped(whole, params.stop_strings)
    assert found[0].text != plain[0] and not found[0].was_cut(params)
    last = replace(params, stop_strings=(" ".join(plain[0].split()[-3:]),))
    ended = texts(pool, last)[0]
    assert ended.text == plain[0] and not ended.was_cut(last)


def test_a_stop_string_may_be_a_special_token(place):
    tokenizer = AutoTokenizer.from_pretrained(place[1])
    red, bos, blue = (WORDS.index(word) for word in ("red", "<bos>", "blue"))
    assert special_stop(tokenizer, [red, bos, blue], ("<bos>",)) == 2
    assert special_stop(tokenizer, [red, bos], ("<bos>", "blue")) == 2
    assert special_stop(tokenizer, [red, blue], ("<bos>",)) is None
    assert special_stop(tokenizer, [red, blue], ("blue",)) is None, "which its text shows"


def test_what_the_authors_recommend_is_named_once(place, caplog):
    pool, base = place
    change(base / "generation_config.json", do_sample=True, temperature=0.6, top_k=20, top_p=1.0)
    engine = InProcessEngine(read_pool(pool), device="cpu")
    expert = engine.pool.experts()[0]
    for number in range(2):
        answers_of(engine, [Request(expert, PROMPTS[number], GenerationParams(2, sampling=Sampling(0.6)))])
    assert caplog.text.count("recommends top_k 20 for sampled answers, which --sampling does not have") == 1
    answers_of(engine, [Request(expert, "no", GenerationParams(2, sampling=Sampling(0.6, top_k=20)))])
    assert caplog.text.count("recommends") == 1
    assert not_taken(GenerationConfig(typical_p=0.9, temperature=1.0), Sampling(0.5)) == {"typical_p": 0.9}


def test_a_vote_asks_its_members_otherwise(tmp_path):
    pool = make_pool(tmp_path)
    (pool / "often").mkdir()
    record = {"type": "vote", "members": ["expert_0", "expert_1"]}
    digests = set()
    for more in ({}, {"stop_strings": ["\n"]}, {"system_message": "Hi"}):
        (pool / "often" / "node.json").write_text(json.dumps(record | more))
        [vote] = read_members(pool).composites
        digests.add(read_members(pool).initial()[-1].digest)
    assert len(digests) == 3
    asked = asked_by(vote, replace(CHAT, stop_strings=("a",)))
    assert asked == replace(CHAT, stop_strings=("a",), system_message="Hi")
    with pytest.raises(UserError, match="often has system_message in its node.json, which is for the chat template"):
        asked_by(vote, GenerationParams(4))
    (pool / "often" / "node.json").write_text(json.dumps(record | {"stop_strings": ""}))
    with pytest.raises(UserError, match="node.json: stop_strings has an empty text"):
        read_members(pool)


def test_a_search_keeps_them_and_who_asks_it_again_uses_them(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    task = "-e exact_match -d graph_tasks_small --dev_limit 8 --test_limit 4".split()

    def run(*words):
        capsys.readouterr()
        code = front_doors.guarded(lambda: command_program([*map(str, words)]))
        return code, "".join(capsys.readouterr())

    for wrong, said in (
        (("--stop_strings", ""), "--stop_strings has an empty text"),
        (("--system_message", "Hi", "--chat", "0"), "system_message is for the chat template"),
        (("--chat_template_kwargs", "enable_thinking=false"), "has no chat template for --chat_template_kwargs"),
    ):
        for more in ((), ("--dry-run",)):
            code, told = run("search", *task, *wrong, *more)
            assert code == 2 and said in told, told
    assert not Path("search").exists()
    small = "--graph_num 2 --trial_num 2 -m 0 -n one".split()
    Path("mine.yml").write_text('stop_strings: ["1", "\\n"]\n')
    code, told = run("search", "mine.yml", *task, *small)
    assert code == 0, told
    record = json.loads(Path("search/one/best/system.json").read_text())["generation"]
    assert record["stop_strings"] == ["1", "\n"]
    answers = [json.loads(line) for line in Path("search/one/best/answers.jsonl").read_text().splitlines()]
    said = [node["answer"] for one in answers for asked in one["asked"] for node in asked["nodes"]]
    assert any(text.endswith("1") for text in said) and all("1" not in text[:-1] for text in said)
    scores = json.loads(Path("search/one/result.json").read_text())["scores"]["found"]["test"]
    code, told = run("evaluate", "search/one", "--json")
    assert code == 0 and json.loads(told.strip().splitlines()[-1])["scores"] == scores
    code, told = run("ask", "search/one", "1 + 1 is what?", "--stop_strings", "[]")
    assert code == 0, told
