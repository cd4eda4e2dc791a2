"""The prompts, to the letter."""

from hypothesis import given
from hypothesis import strategies as st

from swarm.system.prompts import Query, node_prompt, tidy_answer


def test_a_source_is_asked_the_question():
    assert node_prompt(Query("1+1?"), []) == "Please answer the following question.\nQuestion: 1+1?"


def test_others_get_what_was_answered_before():
    assert node_prompt(Query("1+1?"), ["two", "three"]) == (
        "Please answer the following question with the help of previous responses, feel free to ignore wrong or "
        "unhelpful responses.\nPrevious response 1: two\nPrevious response 2: three\nQuestion: 1+1?"
    )


@given(st.text())
def test_an_answer_is_one_stripped_line(text):
    tidy = tidy_answer(text)
    assert "\n" not in tidy
    assert tidy == tidy_answer(tidy) or tidy.strip() != tidy  # newlines at the rim of other blanks
    assert tidy_answer(" a\nb \n") == "a b"
