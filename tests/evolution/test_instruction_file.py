"""A file of instructions is read as it is meant, and what cannot be used is told with its place; the cure works."""

import pytest
import yaml

from swarm.data.example import Dataset, Example
from swarm.errors import UserError
from swarm.evals import get_eval
from swarm.evolution.instruction_file import check_nodes, read_instructions
from swarm.system.instructions import PUBLISHED, PUBLISHED_WORDING, wording_of
from swarm.system.prompts import Query

DEV = tuple(Example(f"question {k}?", f"answer {k}") for k in range(6))
DATASET = Dataset("mine", DEV, DEV)
BRIEF = {"first": "{question}!", "later": "{previous}{question}!"}


def read(folder, content):
    path = folder / "mine.yml"
    path.write_text(yaml.safe_dump(content))
    return read_instructions(path, get_eval("exact_match"), DATASET)


def test_a_file(tmp_path):
    made = read(tmp_path, {"default": BRIEF, "instructions": {"long": {"first": "Please: {question}"}},
                           "nodes": {2: "long", "0": "published"}, "candidates": ["default", "long"]})  # fmt: skip
    assert made.start(4) == ("published", "default", "long", "default")
    wording = made.wording(made.start(4))
    assert [wording.at(node).prompt(Query("a"), []) for node in (1, 2, 9)] == ["a!", "Please: a", "a!"]
    assert wording.at(0) == PUBLISHED and made.candidates == ("default", "long")
    assert made.named["long"].later == PUBLISHED.later, "what is not said is as published"
    assert read(tmp_path, {"default": "published"}).start(4) == ()


def test_examples_are_drawn_from_dev_by_their_seed(tmp_path):
    def drawn(**words):
        return read(tmp_path, {"default": BRIEF | {"examples": {"dev": 2, **words}}})

    one, again, other = drawn(seed=1), drawn(seed=1), drawn(seed=2)
    assert one == again and one.digest != other.digest
    usual = one.named["default"]
    assert (
        usual.shots == 2 and len(usual.examples) == 3 and all(pair[0].startswith("question") for pair in usual.examples)
    )
    for example in DEV:
        assert f"{example.answer}\n" not in usual.prompt(Query(example.question), [])
    given = read(tmp_path, {"default": BRIEF | {"examples": [{"question": "x", "answer": "y"}]}})
    assert given.named["default"].prompt(Query("a"), []) == "Question: x\nAnswer: y\n\na!"


@pytest.mark.parametrize(
    ("content", "said", "mended"),
    [
        ({"instructions": {"brief": BRIEF}}, "has no default",
         {"default": "published", "instructions": {"brief": BRIEF}}),
        ({"default": {"first": "{questoin}"}}, "default: first: it has the field {questoin}", {"default": BRIEF}),
        ({"default": {"frist": "{question}"}}, 'default has "frist", wanted of first, later', {"default": BRIEF}),
        ({"default": "brief"}, 'default names "brief", wanted one of published', {"default": "published"}),
        ({"default": BRIEF, "nodes": {0: "brief"}}, 'node 0 names "brief"',
         {"default": BRIEF, "nodes": {0: "published"}}),
        ({"default": BRIEF, "nodes": {"a": "published"}}, 'nodes has "a", wanted the numbers', {"default": BRIEF}),
        ({"default": BRIEF, "candidates": ["default"]}, "wanted a list of names, at least two",
         {"default": BRIEF, "candidates": ["default", "published"]}),
        ({"default": BRIEF, "candidates": ["default", "default"]}, "wanted a list of names, at least two",
         {"default": BRIEF, "candidates": ["default", "published"]}),
        ({"default": BRIEF, "instructions": {"default": BRIEF}}, "names one default, which is taken",
         {"default": BRIEF}),
        ({"default": BRIEF | {"examples": {"dev": 6}}}, "dev is 6, but dev has 6 questions",
         {"default": BRIEF | {"examples": {"dev": 5}}}),
        ({"default": BRIEF | {"examples": {"dev": 0}}}, "dev is 0, wanted a whole number from 1",
         {"default": BRIEF | {"examples": {"dev": 1}}}),
        ({"default": BRIEF | {"examples": [{"question": "x"}]}}, "example 0: answer is null, wanted a text",
         {"default": BRIEF | {"examples": [{"question": "x", "answer": "y"}]}}),
        (["default"], "wanted names with values", {"default": BRIEF}),
    ],
)  # fmt: skip
def test_what_cannot_be_used_and_its_cure(tmp_path, content, said, mended):
    with pytest.raises(UserError) as told:
        read(tmp_path, content)
    assert said in str(told.value) and "\n" not in str(told.value)
    read(tmp_path, mended)


def test_a_node_that_no_graph_has(tmp_path):
    made = read(tmp_path, {"default": BRIEF, "nodes": {5: "published"}})
    check_nodes(made, "mine.yml", 6)
    with pytest.raises(UserError, match="nodes has 5, but graphs have nodes 0 to 4"):
        check_nodes(made, "mine.yml", 5)


def test_a_default_by_name_has_that_one_s_examples_and_is_kept_so(tmp_path):
    made = read(
        tmp_path,
        {"default": "shots", "instructions": {"shots": BRIEF | {"examples": {"dev": 2}}}, "nodes": {1: "shots"}},
    )
    assert made.named["default"] == made.named["shots"] and made.named["default"].shots == 2
    wording = made.wording(made.start(3))
    assert wording_of(wording.record()) == wording


def test_a_second_question_about_an_example_is_not_answered_by_it(tmp_path):
    usual = read(tmp_path, {"default": BRIEF | {"examples": {"dev": 2}}}).named["default"]
    asked, answer = usual.examples[0]
    again = Query(f"{asked}\nProposed answer: B\nIs that true or false?")
    assert f"{answer}\n" not in usual.prompt(again, [])


def test_the_published_wording_is_the_constant(tmp_path):
    assert read(tmp_path, {"default": "published"}).wording() is PUBLISHED_WORDING
