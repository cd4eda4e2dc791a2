"""Guards exact match: the published substring rule as it is, and a strict reading that tricks do not win."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from repository import SHARED

from swarm.data.example import Dataset, Example
from swarm.data.load import load_dataset
from swarm.engines.base import GenerationParams
from swarm.evals import get_eval
from swarm.evals.exact_match import compat, exact_match_prompt, strict
from swarm.text.replies import one_line, phrase_spans

QUESTION = "How many apples do 3 boys have if each has 5 apples and 2 pears?"


def published(name: str) -> Dataset:
    if not (SHARED / "data" / "eval" / f"{name}.json").exists():
        pytest.skip("the published data files are not here")
    return load_dataset(name, SHARED / "data" / "eval")


NUMBERS_RIGHT = [
    ("7", "7"),
    ("7.", "7"),
    ("The answer is 15.", "15"),
    ("The answer is: **15**", "15"),
    ("the final answer is 15 dollars and 20 cents", "15"),
    ("**Answer:** 15", "15"),
    ("ANSWER: 15 apples, 3 boys", "15"),
    ("The answer to the question is 15 apples for 3 boys.", "15"),
    ("The answer would be 15.", "15"),
    ("#### 15", "15"),
    (r"The answer is $\boxed{15}$ apples, for 3 boys", "15"),
    ("3 boys have 15 apples.", "15"),
    ("3*5=15", "15"),
    ("The answer is 5 + 10 = 15.", "15"),
    ("The answer is 15 = 3 * 5.", "15"),
    ("The answer is 15. There were 3 boys.", "15"),
    ("The answer is 5. Wait: the answer is 15.", "15"),
    ("The answer is not 5 but 15", "15"),
    ("We get 15. The answer is", "15"),
    ("We get 15. Please end your response with 'The answer is'.", "15"),
    ("#### Step 2: multiply 3 by 5 to get 15", "15"),
    (f"{QUESTION} 15", "15"),
    ("The answer is 1,500.", "1500"),
    ("The answer is 1500", "1,500"),
    ("That is $1,500.00", "1500"),
    ("It costs $1500", "$1,500"),
    ("a share of 50%", "50"),
    ("a share of 50", "50%"),
    ("The answer is 0.50", "0.5"),
    ("so .5 in all", "0.5"),
    ("The answer is 1/2", "0.5"),
    ("The answer is -3.", "-3"),
    ("The answer is −3", "-3"),
    ("The answer is -$3", "-3"),
    ("The answer is $-3", "-3"),
    ("10-5", "5"),
    ("x=5", "5"),
    ("5kg", "5"),
    ("15 m^2", "15"),
    ("the path 0,1,5", "5"),
    ("15. Question: 2+2? Answer: 4", "15"),
    ("Question: how many? Answer: 15", "15"),
    ("The answer is 42, since 50 - 8 = 42 and x = 8.", "42"),
    ("The answer is $42$ because 50 - 8 = 42 and x = 8", "42"),
    ("The answer is 42 apples, since 50 - 8 = 42 and x = 8.", "42"),
    ("The answer is 50 - 8 = 42.", "42"),
    ("The total weight is 7 for the path 0,3,9.", "7"),
    ("The length is 7, the path 0, 3, and 9", "7"),
    ("The shortest path has length 7: 0 to 3 to 9.", "7"),
    ("The length is 7: node 0 to node 3 to node 9", "7"),
    ("We have 3 and so 1,234,567", "1234567"),
    ("of 12, 1,234,567", "1234567"),
    (r"The answer is \boxed{\frac{1}{2}}", "1/2"),
    (r"It is $-\dfrac{1}{2}$", "-0.5"),
    ("The answer is ½", "0.5"),
    ("The answer is 0.5 or 1/2", "0.5"),
    ("The answer is 0.25 or 25%", "0.25"),
    ("The answer is 150 cents or 1.50 dollars", "150"),
    ("The answer is minus 5", "-5"),
    ("It is 10 minus 5, 5", "5"),
    ("５", "5"),
    ("答えは5です", "5"),
    ("1" * 6000 + ". So 7", "7"),
    ("1" * 6000, "1" * 6000),
]
NUMBERS_WRONG = [
    ("", "7"),
    ("unknown", "7"),
    ("17", "7"),
    ("The answer is 17", "7"),
    ("70", "7"),
    ("7.5", "7"),
    ("1.7", "7"),
    ("1,700", "700"),
    ("The answer is 3.", "-3"),
    ("The answer is -3.", "3"),
    ("The answer is 1/2", "1"),
    ("5/0", "5"),
    ("1.500", "1500"),
    ("7, then 8", "7"),
    ("The answer is 8. Not 7", "7"),
    ("Node10", "10"),
    ("0 1 2 3 4 5 6 7 8 9", "7"),
    (QUESTION, "2"),
    (f"Question: {QUESTION}", "2"),
    ("15. Question: 2+2? Answer: 4", "4"),
    ("The answer is 42, since 50 - 8 = 42 and x = 8.", "8"),
    ("16 to 3 to 11", "11"),
    ("The answer is 3 or 4", "3"),
    ("The answer is 3 or 4", "4"),
    ("The answer is 3 apples or 4 apples", "3"),
    ("The answer is 3, 4, or 5", "3"),
    ("It is 3 or 4", "4"),
    ("The answer is 5:30", "5"),
    ("It is 15:30", "30"),
    ("5²", "52"),
    ("1" * 6000, "7"),
    ("The answer is 1/" + "1" * 6000, "1"),
]
WORDS_RIGHT = [
    ("yes", "Yes"),
    ("No", "no"),
    ("YES!", "Yes"),
    ("**No**", "No"),
    ("- Yes", "Yes"),
    ("Yes, there is no direct edge, but a path.", "Yes"),
    ("No, there is no path. Or yes?", "No"),
    ("The answer is No.", "No"),
    ("I think no. The answer is yes", "Yes"),
    ("There is no path.", "No"),
    ("There is a path, yes.", "Yes"),
    ("Please directly answer with Yes or No: No", "No"),
    ("True", "true"),
    ("It is false.", "False"),
    ("There is no edge 1-2, so node 1 connects to 3. Therefore yes.", "Yes"),
    ("No direct edge exists, but yes, there is a path", "Yes"),
    ("No path exists between 1 and 2.", "No"),
    ("No\nThere is no path", "No"),
    ("Is there an edge? no. Therefore, yes.", "Yes"),
    ("Yes. Question: And now? Answer: no", "Yes"),
    ("答えはYesです", "Yes"),
]
WORDS_WRONG = [
    ("Node 1 is connected to node 10.", "No"),
    ("Not sure, nobody knows.", "No"),
    ("none", "No"),
    ("no-one", "No"),
    ("unknown", "Yes"),
    ("", "No"),
    ("Yes or No", "Yes"),
    ("yes/no", "No"),
    ("I'd say yes, not no", "Yes"),
    ("False, it is not true", "True"),
    ("Yes. On second thoughts, no.", "No"),
    ("No direct edge exists, but yes, there is a path", "No"),
    ("№ 5", "No"),
    ("不是no, yes", "No"),
]
PHRASES_RIGHT = [
    ("unknown", "unknown"),
    ("It was Roger  miller.", "Roger Miller"),
    ("The answer is Roger\nMiller, of course", "Roger Miller"),
    ("Roger. The answer is.", "Roger"),
    ("pears, bananas", "pears, bananas"),
    ("It is (¬A → B) ↔ (A ∨ ¬B).", "(¬A → B) ↔ (A ∨ ¬B)"),
    ("Santa Claus", "Claus"),
    ("that’s it", "that's it"),
    ("a", "A"),
    ("Option A", "A"),
    ("答案是A。", "A"),
    ("東京です", "東京"),
    ("答えは東京です。", "東京"),
    ("It is cafe\u0301.", "caf\xe9"),
    ("Paris. Question: 2+2? Answer: 4", "Paris"),
]
PHRASES_WRONG = [
    ("claustrophobic", "Claus"),
    ("Roger Millers", "Roger Miller"),
    ("Roger. The answer is Bob", "Roger"),
    ("It is a dog", "A"),
    (QUESTION, "apples"),
    ("green", "green, white"),
]


@pytest.mark.parametrize(("reply", "gold"), NUMBERS_RIGHT + WORDS_RIGHT + PHRASES_RIGHT)
def test_strict_finds_the_final_answer(reply: str, gold: str) -> None:
    assert strict(reply, Example(QUESTION, gold), QUESTION)


@pytest.mark.parametrize(("reply", "gold"), NUMBERS_WRONG + WORDS_WRONG + PHRASES_WRONG)
def test_strict_is_not_won_by_other_replies(reply: str, gold: str) -> None:
    assert not strict(reply, Example(QUESTION, gold), QUESTION)


def test_what_follows_a_marker_counts_even_when_it_repeats_a_short_question() -> None:
    assert strict("The answer is 11", Example("11", "11"), "11")


@pytest.mark.parametrize(
    ("phrase", "text", "found"),
    [
        ("no", "none, no-one, nor No", [(18, 20)]),
        ("5", "1.5 -5 1/5 5,000 5:30 x^5 5% 5.", [(26, 27), (29, 30)]),
        ("cell", "B-cell cell-like cell", [(17, 21)]),
        ("t", "don't", []),
        ("", "anything", []),
        ("cell", "cellは細胞cell", [(0, 4), (7, 11)]),
    ],
)
def test_phrases_are_whole_words(phrase: str, text: str, found: list[tuple[int, int]]) -> None:
    assert phrase_spans(phrase, text) == found


@pytest.mark.parametrize(
    ("reply", "gold", "dataset", "right"),
    [
        ("Node 1", "No", "nlgraph", True),
        ("no", "No", "nlgraph", False),
        ("17", "7", "nlgraph", True),
        ("7 one two three four five", "7", "gsm8k", False),
        ("7 one two three four", "7", "gsm8k", True),
        ("7 one  two three four", "7", "gsm8k", False),
        ("17", "7", "gsm8k", True),
        ("1600", "1,600", "gsm8k", False),
        ("7 one two three four five", "7", "gaia", True),
    ],
)
def test_compat_is_the_published_substring_rule(reply: str, gold: str, dataset: str, right: bool) -> None:
    assert compat(reply, Example("q", gold), dataset) is right


def test_judge_asks_once_and_fills_both_scorers() -> None:
    dataset = Dataset("gsm8k", (Example("1 + 6?", "7"), Example("1 + 1?", "2")), ())
    judging = get_eval("exact_match").judge(dataset, dataset.dev)
    queries = next(judging)
    assert [query.text for query in queries] == [
        "1 + 6? Please end your response with 'The answer is'.",
        "1 + 1? Please end your response with 'The answer is'.",
    ]
    with pytest.raises(StopIteration) as done:
        judging.send(["The answer is 7.", "The answer is 12."])
    assert {name: scores.tolist() for name, scores in done.value.value.items()} == {"strict": [1, 0], "compat": [1, 1]}


def test_other_prompts_are_the_question_alone() -> None:
    assert exact_match_prompt(Dataset("nlgraph", (), ()), Example("q\\n?", "7")) == "q\\n?"
    assert exact_match_prompt(Dataset("toy", (), (), prefix="Like so."), Example("q?", "7")) == "Like so.\nq?"


@pytest.mark.parametrize(
    ("name", "generation", "expected"),
    [
        ("gsm8k", {}, GenerationParams(100, chat=True)),
        ("nlgraph", {}, GenerationParams(80, chat=True)),
        ("gaia", {}, GenerationParams(50, chat=True)),
        ("my_own", {}, GenerationParams(100, chat=True)),
        ("nlgraph", {"max_new_tokens": 2}, GenerationParams(2, chat=True)),
        ("my_own", {"max_new_tokens": 2, "chat": False}, GenerationParams(2)),
    ],
)
def test_params_are_the_published_ones_unless_the_file_says_more(
    name: str, generation: dict[str, int | bool], expected: GenerationParams
) -> None:
    assert get_eval("exact_match").params(Dataset(name, (), (), generation=generation)) == expected


@pytest.mark.parametrize(
    ("reply", "compat_score", "strict_most"),
    [
        ("Node 1 is connected to node 10.", 0.256, 0.02),
        ("Yes Node 0 1 2 3 4 5 6 7 8 9 10 11 12", 0.775, 0.29),  # "Yes" alone is right on .261
        ("{question}", 0.781, 0.0),
    ],
)
def test_replies_that_know_nothing_fall_to_chance(reply: str, compat_score: float, strict_most: float) -> None:
    dataset = published("nlgraph")
    rows = [(reply.replace("{question}", example.question.replace("\n", " ")), example) for example in dataset.test]
    assert sum(compat(text, example, "nlgraph") for text, example in rows) / len(rows) == pytest.approx(compat_score)
    assert (
        sum(strict(text, example, exact_match_prompt(dataset, example)) for text, example in rows) / len(rows)
        <= strict_most
    )


def test_a_wrong_number_that_holds_the_gold_answer_is_wrong() -> None:
    examples = published("gsm8k").test[:100]
    wrong = [(f"The answer is {n}.", e) for e in examples for n in range(100, 1000, 7) if str(n) != e.answer]
    assert 0.05 < sum(compat(reply, example, "gsm8k") for reply, example in wrong) / len(wrong) < 0.08
    assert not any(strict(reply, example) for reply, example in wrong)


@pytest.mark.parametrize(
    "template",
    [
        "{n}",
        "{n:,}",
        "The answer is {n:,}.",
        "#### {n}",
        "so 5 x 3 = ${n}.00",
        r"\boxed{{{n:,}}}",
        "{q} Answer: **{n}**",
        "{n}. Question: 2+2? Answer: 4",
        "The answer is {n}, since 50 - 8 = 42 and x = 8.",
        "The path is 0,3,9 and so {n}",
    ],
)
def test_right_replies_are_right_on_all_of_gsm8k(template: str) -> None:
    dataset = published("gsm8k")
    for example in dataset.test:
        reply = template.format(n=int(example.answer.replace(",", "")), q=exact_match_prompt(dataset, example))
        assert strict(reply, example, exact_match_prompt(dataset, example)), (reply, example.answer)


def test_signs_are_spelled_in_one_way_only() -> None:
    assert one_line("２\n cafe\u0301 5² x₁ 5½ “№” −1") == "x".join(["2 caf\xe9 5^2 ", '_1 5 1/2 "Nr. " -1'])


GOLDS = st.one_of(st.sampled_from(["Yes", "no", "7", "1,500", "1/0", "-3%", "A", ".", "Roger Miller"]), st.text())
PIECES = st.lists(
    st.sampled_from(
        ["answer is ", "=", "1", ",", "/", "0", ".", "-", "$", "yes", " or ", "####", "a ", "9" * 5000, " to "]
    )
)


@given(st.one_of(st.text(), PIECES.map("".join)), GOLDS, st.text())
def test_strict_reads_any_text(reply: str, gold: str, question: str) -> None:
    assert strict(reply, Example(question, gold), question) in (True, False)


@given(
    st.integers(-(10**6), 10**6), st.sampled_from(["{}", "The answer is {:,}.", "so = {}", "#### {}", "${}.00 it is"])
)
def test_strict_knows_a_number_however_it_is_written(number: int, template: str) -> None:
    assert strict(template.format(number), Example(QUESTION, str(number)))
    assert not strict(template.format(number + 1), Example(QUESTION, str(number)))


@given(st.lists(st.sampled_from(["7", "17", "a", "", "x\n7"]), max_size=9), st.sampled_from(["7", "a", "17"]))
def test_compat_equals_a_restatement(words: list[str], gold: str) -> None:
    reply = " ".join(words)
    last_five = re.search(r"(?:[^ ]* ){0,4}[^ ]*\Z", reply)
    assert last_five
    assert compat(reply, Example("q", gold), "gsm8k") == (last_five[0].count(gold) > 0)
    assert compat(reply, Example("q", gold), "nlgraph") == (reply.count(gold) > 0)


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("11. The path is 16-3-19.", True),
        ("11 The shortest path from 16 to 19 is 16 -> 3 -> 19.", True),
        ("**11** Explanation: The edge 16-3 has weight 4.", True),
        ("11 (16 -> 3 -> 19)", True),
        ("The length of the shortest path is 11: 16 -> 3 -> 19.", True),
        ("11: from 16 to 3 and on to 19", True),
        ("1. From 16 to 3 it is 4. 2. From 3 to 19 it is 7. Together 11", True),
        ("11. From 16 to 3. 12. From 3 to 19 it is 7", False),
        ("11 apples and 3 pears make 14", False),
        ("16 -> 3 -> 11", False),
        ("7, then 8", False),
    ],
)
def test_a_number_is_found_beside_the_path_that_explains_it(reply, right):
    """Replies to "Please directly answer with the length"."""
    assert strict(reply, Example("How long is the shortest path?", "11")) is right
