"""Instructions: templates become prompts, the published one the published prompt; none reaches beyond its fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.system.instructions import PUBLISHED, Instruction, Wording, check_template, fields_of, wording_of
from swarm.system.prompts import Query, node_prompt

WORDS = st.text(max_size=30)
QUERIES = st.builds(
    Query,
    WORDS,
    st.lists(WORDS, max_size=4).map(tuple),
    question=WORDS,
    choices=st.dictionaries(st.sampled_from("ABC"), WORDS, max_size=3),
)


@given(QUERIES, st.lists(WORDS, max_size=3), st.integers(0, 3))
def test_the_published_templates_are_the_published_prompt(query, previous, position):
    assert PUBLISHED.prompt(query, previous, position, 4) == node_prompt(query, previous, position, 4)


@given(WORDS, WORDS)
def test_a_value_is_put_in_as_it_is(question, answer):
    """Braces in a question or an answer are text, and open nothing."""
    own = Instruction("own", first="{question}", later="{previous}|{question}", response="{answer};")
    assert own.prompt(Query(question), []) == question
    assert own.prompt(Query(question), [answer, "b"]) == f"{answer};b;|{question}"


def test_every_field():
    query = Query("Choose.\nWhich?\nA: x\nB: y\n", ("one", "two"), question="Which?", choices={"A": "x", "B": "y"})
    own = Instruction(
        "own",
        first="{examples}{{{position} of {nodes}}} {context}{question}\n{choices}Answer:",
        later="{question}|{previous}",
        response="[{number}: {answer}]",
        context="<{context}>",
        example="{question}={answer}, ",
        examples=(("p", "1"), ("q", "2")),
        shots=2,
    )
    assert own.prompt(query, [], 1, 2) == "p=1, q=2, {2 of 2} <two>Which?\nA: x\nB: y\nAnswer:"
    assert own.prompt(query, ["u", "v"]) == "p=1, q=2, Choose.\nWhich?\nA: x\nB: y\n|[1: u][2: v]", "examples in front"


def test_an_example_does_not_answer_its_own_question():
    own = Instruction(
        "own", first="{question}", example="{question}={answer};", examples=(("a", "1"), ("b", "2")), shots=1
    )
    assert own.prompt(Query("c"), []) == "a=1;c"
    assert own.prompt(Query("a"), []) == "b=2;a"
    assert own.prompt(Query("Asked: b", question="b"), []) == "a=1;Asked: b"


@pytest.mark.parametrize(
    ("template", "kind", "said"),
    [
        ("{question} {answer}", "first", "the field {answer}, wanted of {choices}, {context}"),
        ("{previous}", "first", "the field {previous}"),
        ("{previous}", "later", "no {question}"),
        ("{question.__class__}", "first", "wanted a plain {name}"),
        ("{question!r}", "first", "wanted a plain {name}"),
        ("{question:>9}", "first", "wanted a plain {name}"),
        ("{}{question}", "first", "wanted a plain {name}"),
        ("{question", "first", "expected '}'"),
        ("no answer", "response", "no {answer}"),
        (3, "first", "3 is no text"),
    ],
)
def test_a_template_that_cannot_be_used(template, kind, said):
    with pytest.raises(ValueError) as told:
        check_template(template, kind)
    assert said in str(told.value)


def test_a_wording_is_kept_as_json():
    own = Instruction("own", first="{question}", examples=(("a", "1"),), shots=1)
    wording = Wording(PUBLISHED, (own, PUBLISHED, own))
    assert wording_of(wording.record()) == wording and wording.at(9) is PUBLISHED
    damaged = wording.record()
    damaged["all"][1]["first"] = "{question.__init__}"
    with pytest.raises(ValueError, match="plain"):
        wording_of(damaged)
    assert fields_of("{question}{{x}}") == ("question",)
