"""`h-swarm ask`, and the same from Python: questions put as the search put them, traced, changed, in a conversation."""

import io
import json
import os
import pty
import sys
from pathlib import Path

import networkx as nx
import pytest
from repository import ROOT
from tiny import change_json, make_pool
from transformers import AutoTokenizer

import swarm
from swarm.data.example import Example
from swarm.evals.exact_match import ExactMatch
from swarm.evals.multiple_choice import MultipleChoice, multiple_choice_prompt
from swarm.programs import front_doors
from swarm.programs.ask import ask_program

TURNS = "{% for m in messages %}{{ m.content }} {{ 'is ' if m.role == 'user' else 'what ' }}{% endfor %}"
WORDS = ("red", "green", "blue", "yes", "no", "one", "two", "three")
SETTINGS = {"initial_expert_directory": "experts", "graph_num": 2, "trial_num": 2, "max_iteration": 0, "quiet": True}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two runs of tiny experts, one after the other in this process; of the second the base has a chat template."""
    folder, before = tmp_path_factory.mktemp("asked"), Path.cwd()
    os.chdir(folder)
    try:
        make_pool(folder)
        rows = [{"question": f"what is {word}", "answer": word} for word in WORDS]
        choices = {"A": "red", "B": "green"}
        Path("words.json").write_text(json.dumps({"dev": rows[:4], "test": rows[4:], "icl_prompt": "one two"}))
        lettered = [{"question": f"what is {word}", "answer": "A", "choices": choices} for word in WORDS]
        Path("letters.json").write_text(json.dumps({"dev": lettered[:4], "test": lettered[4:]}))
        words = swarm.search(eval_type="exact_match", dataset="words.json", name="words", max_new_tokens=4, **SETTINGS)
        again = swarm.search(
            eval_type="multiple_choice", dataset="letters.json", name="letters", max_new_tokens=4, seed=1, **SETTINGS
        )
        assert words.folder.name == "words" and again.folder.name == "letters"
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def folder(made, monkeypatch):
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def told(capsys):
    def tell(*words, code=0):
        capsys.readouterr()
        assert front_doors.guarded(lambda: ask_program([str(word) for word in words])) == code, capsys.readouterr().err
        shown = capsys.readouterr()
        return shown.err if code else shown.out

    return tell


def kept(name, split="test"):
    lines = map(json.loads, (Path("search") / name / "best/answers.jsonl").read_text().splitlines())
    return [line for line in lines if line["split"] == split]


def test_a_question_of_the_data_is_answered_as_in_the_search(folder, told):
    for record in kept("words")[:2]:
        assert told("search/words", record["question"]).strip() == record["asked"][0]["nodes"][-1]["answer"]
    record = kept("words")[0]
    shown = told("search/words", record["question"], "--trace")
    assert "| Question: one two" in shown, "with the data's instruction in front"
    for node in record["asked"][0]["nodes"]:
        assert f"  role {node['node']}: {node['member']}\n" in shown and f"-> {node['answer']!r} (" in shown


def test_choices_are_asked_as_they_are_scored(folder, told):
    record = kept("letters")[1]
    Path("asked.jsonl").write_text(json.dumps({"question": record["question"], "choices": record["choices"], "id": 7}))
    said = json.loads(told("search/letters", "--file", "asked.jsonl", "--json", "--trace"))
    assert said["trace"]["text"] == record["asked"][0]["text"] and said["id"] == "7"
    assert said["answer"] == record["asked"][0]["nodes"][-1]["answer"]
    with swarm.load("search/letters") as system:
        assert system.ask(record["question"], record["choices"]) == said["answer"]


def test_files_and_standard_input(folder, told, monkeypatch):
    questions = [record["question"] for record in kept("words")]
    answers = [record["asked"][0]["nodes"][-1]["answer"] for record in kept("words")]
    Path("q.txt").write_text("\n".join([questions[0], "", *questions[1:]]) + "\n")
    Path("q.csv").write_text("question,more\n" + "".join(f"{question},1\n" for question in questions))
    assert told("search/words", "--file", "q.txt").splitlines() == answers
    assert told("search/words", "--file", "q.csv").splitlines() == answers
    for words in ([], ["-"]):
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(questions)))
        assert told("search/words", *words).splitlines() == answers


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search/words"], 'there is no question; wanted h-swarm ask RUN "question"'),
        (["search/words", "a", "--file", "q.txt"], "a question and --file are both given"),
        (["search/words", "--file", "none.txt"], "--file none.txt cannot be read"),
        (["search/words", "--file", "bad.csv"], 'no field "question", only "asked"'),
        (["search/words", "--file", "bytes.txt"], "--file bytes.txt is no text in UTF-8"),
        (["search/none", "a"], "search/none is not there"),
        (["experts", "a"], "experts holds no system"),
    ],
)
def test_what_cannot_be_asked_is_one_line(folder, told, monkeypatch, words, message):
    Path("bad.csv").write_text("asked\nwhat\n")
    Path("bytes.txt").write_bytes(b"\xff\xfe\xfa")
    Path("q.txt").write_text("a\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    error = told(*words, code=2)
    assert message in error and error.count("\n") == 1


def typed(*lines):
    """What a terminal hands on, which stays one."""
    main, end = pty.openpty()
    os.write(main, "".join(f"{line}\n" for line in lines).encode() + b"\x04")
    return os.fdopen(end), main


@pytest.mark.parametrize("template", [True, False])
def test_a_conversation_goes_on_where_the_template_tells_it(folder, tmp_path, told, monkeypatch, template):
    """The second question is asked after the first one's turn; /new forgets it."""
    import shutil

    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    tokenizer = AutoTokenizer.from_pretrained("base")
    if template:
        tokenizer.chat_template = TURNS
        tokenizer.save_pretrained("base")
    change_json(Path("search/words/best/system.json"), lambda record: record["generation"].update(chat=True))
    with swarm.load("search/words") as system:
        first, alone = system.ask("one two"), system.ask("three")
        assert system.tells_history() is template
        after = system.ask("three", history=[("one two", first)])
        engine = system._answering.opened()[0].engine
        asked = engine._tokenise(["three"], system.params, [("one two", first)])[0]
        plain = engine._tokenise(["three"], system.params)[0]
        assert (len(asked) > len(plain)) is template
    terminal, main = typed("one two", "three", "/new", "three")
    monkeypatch.setattr(sys, "stdin", terminal)
    shown = told("search/words")
    os.close(main)
    said = [line.removeprefix("> ").removeprefix("> ") for line in shown.splitlines()]
    assert ("earlier turns are told" in shown) is template
    wanted = [first, after if template else alone, alone]
    assert [line.strip() for line in said[-len(wanted) - 1 :] if line.strip()][-3:] == [
        text for text in wanted if text
    ][-3:]


def test_a_search_is_a_value(folder):
    result = swarm.Result("search/words")
    estimates = {(row["who"], row["split"], row["scorer"]): row["mean"] for row in result.table()}
    assert result.score().mean == estimates["found", "test", "strict"]
    assert {row["who"] for row in result.table()} == {"found", "best_single", "uniform_average"}
    assert [step["step"] for step in result.history] == [1, 2] and "usage_generations" in result.history[0]
    assert "exact_match on words" in repr(result) and len(repr(result).splitlines()) < 20
    assert result._repr_html_().startswith("<pre>search/words")
    with pytest.raises(swarm.UserError, match="has no score of nobody on test"):
        result.score(who="nobody")


def test_a_found_system_is_scored_looked_at_and_changed(folder):
    with swarm.load("search/words", gpus="cpu") as system:
        assert len(repr(system).splitlines()) <= 7 and len(repr(system)) < 500
        page = system._repr_html_()
        assert "<svg" in page and all(name in page for name in system.members if name in repr(system))
        score = system.score()
        assert score.mean == swarm.Result("search/words").score().mean
        assert repr(score).startswith("strict 0.") and len(score.answers) == len(score.scores["strict"]) == 4
        [trace] = system.answer(["what is red"], trace=True)
        assert trace.text == system.ask("what is red") and "one two" in trace.prompt(trace.system.end)
        graph = system.graph
        assert nx.is_directed_acyclic_graph(graph) and graph.graph["end"] == system.system.end
        assert set(nx.get_node_attributes(graph, "member").values()) <= set(system.members)
        graph.clear()
        assert len(system.graph) == 3, "a copy"
        chain = system.with_graph([(0, 1), (1, 2)])
        assert sorted(chain.graph.edges) == [(0, 1), (1, 2)] and chain.graph.graph["end"] == 2
        changed = chain.with_member(2, "expert_1")
        assert changed.graph.nodes[2]["member"] == "expert_1"
        assert changed.with_graph(system.graph).system.graph.edges == system.system.graph.edges
        assert changed._answering is system._answering, "the model is loaded once"
        assert len(changed.answer(["one", Example("two", "")])) == 2
        assert system.score("dev", test_limit=2).scores["strict"].shape == (4,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda system: system.with_graph([(0, 1), (1, 0)]), "make no graph of the nodes 0 to 2 .*cycle"),
        (lambda system: system.with_graph([(0, 1)]), "make no graph of the nodes 0 to 2 with one end"),
        (lambda system: system.with_graph([(0, 9)]), "make no graph of the nodes 0 to 2"),
        (lambda system: system.with_member(9, "expert_1"), "there is no node 9"),
        (lambda system: system.with_member(0, "nobody"), "no member 'nobody'; nodes are .0, 1, 2., members expert_"),
        (lambda system: system.score(dataset="none"), 'no dataset "none"'),
        (lambda system: system.score(colour="red"), "unknown setting 'colour'"),
    ],
)
def test_what_a_system_cannot_be(folder, change, message):
    with pytest.raises(swarm.UserError, match=message):
        change(swarm.load("search/words"))


def test_a_plugin_and_other_data_are_scored_from_python(folder):
    Path("mine.py").write_text(
        "from swarm.plugins import register\n@register('evals', 'longest')\ndef longest(reply, example):\n"
        "    return float(len(reply) > 3)\n"
    )
    Path("other.json").write_text(json.dumps({"dev": [{"question": "what", "answer": "red"}] * 2,
                                              "test": [{"question": "what", "answer": "red"}] * 7}))  # fmt: skip
    system = swarm.load("search/words")
    assert len(system.score(plugin="mine.py", eval_type="longest", dataset="other.json").scores["strict"]) == 7
    with pytest.raises(
        swarm.UserError, match="gpus belongs to the engine, which is loaded once: give it to swarm.load"
    ):
        system.score(gpus="cpu")
    with pytest.raises(swarm.UserError, match="split is 'train'; wanted dev or test"):
        system.score("train")
    with pytest.raises(swarm.UserError, match="answer takes several questions"):
        system.answer("what is red")
    with pytest.raises(swarm.UserError, match="a question is empty"):
        system.ask(" ")
    assert system.ask("what", choices=["red", "green"]) == system.ask("what", choices={"A": "red", "B": "green"})
    system.close()


def test_one_search_at_a_time_and_foreign_handlers_stay(folder, tmp_path):
    import logging
    import threading

    own = logging.FileHandler(tmp_path / "own.log")
    logging.getLogger("swarm").addHandler(own)
    raised = []

    def other():
        try:
            swarm.resume("search/words", quiet=True)
        except swarm.UserError as error:
            raised.append(str(error))

    from swarm.programs import from_python

    with from_python._one_at_a_time():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert raised == ["another search is running in this process: wait for it, or start a process of its own"]
    swarm.resume("search/words", quiet=True)
    logging.getLogger("swarm").warning("still heard")
    assert "still heard" in (tmp_path / "own.log").read_text()
    logging.getLogger("swarm").removeHandler(own)


def test_errors_are_exceptions_and_leave_the_process_usable(folder, capsys):
    with pytest.raises(swarm.UserError, match="--dataset .* is missing"):
        swarm.search(eval_type="exact_match")
    with pytest.raises(swarm.UserError, match="search/words exists"):
        swarm.search(eval_type="exact_match", dataset="words.json", name="words", **SETTINGS)
    with pytest.raises(swarm.UserError, match="search/none is no run"):
        swarm.resume("search/none")
    assert capsys.readouterr().out == ""
    assert swarm.resume("search/words", quiet=True).score().mean == swarm.Result("search/words").score().mean
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        swarm.nothing  # noqa: B018


def test_the_prompt_is_that_of_the_eval(folder):
    system = swarm.load("search/words")
    assert system._query(Example("what?", "")).text == "one two\nwhat?"
    example = Example("what?", "", choices={"A": "x", "B": "y"})
    lettered = swarm.load("search/letters")
    dataset = type("Data", (), {"name": "letters", "headed": staticmethod(lambda text: text)})()
    assert lettered._query(example).text == multiple_choice_prompt(dataset, example)
    assert lettered._query(Example("what?", "")).text == "what?", "without choices as it stands"
    assert {ExactMatch.name, MultipleChoice.name} <= set(swarm.programs.running_system.ASKED_AS_SCORED)


def test_importing_swarm_is_quick():
    """Nothing heavy is imported before it is called."""
    import subprocess

    code = "import sys, swarm; assert not {'torch', 'numpy', 'networkx', 'transformers'} & set(sys.modules); dir(swarm)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
