"""Guards multiple choice: prompts, the published search for letters as it is, and a strict reading of picks."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from repository import SHARED

from swarm.data.example import Dataset, Example
from swarm.data.load import load_dataset
from swarm.engines.base import GenerationParams
from swarm.errors import UserError
from swarm.evals import get_eval
from swarm.evals.multiple_choice import compat_key, multiple_choice_prompt, strict_key

YES_NO = {"A": "yes", "B": "no", "C": "neutral"}
TEN = {key: f"thing {key.lower() * 3}" for key in "ABCDEFGHIJ"}
ROMAN = {"A": "I only", "B": "II only", "C": "I and II only", "D": "neither"}
SKINNER = {"A": "B. F. Skinner", "B": "Freud", "C": "Both A and B", "D": "A process of learning"}
SIGNS = {"A": "-5", "B": "5", "C": "15", "D": "1"}
PLANETS = {"A": "Mars", "B": "Venus", "C": "Earth", "D": "Jupiter"}
COLOURS = {"A": "red", "B": "green"}
UNITS = {"A": "2c", "B": "c", "C": "0.8c", "D": "0.5c"}


def published(name: str) -> Dataset:
    if not (SHARED / "data" / "eval" / f"{name}.json").exists():
        pytest.skip("the published data files are not here")
    return load_dataset(name, SHARED / "data" / "eval")


def test_prompts_are_the_published_ones() -> None:
    example = Example("Is it so?", "A", choices=YES_NO)
    body = "Question: Is it so?\nA: yes\nB: no\nC: neutral\nThe answer is"
    usual = "Please choose an option that best answers the question.\n"
    assert multiple_choice_prompt(Dataset("normad", (), ()), example) == usual + body
    assert (
        multiple_choice_prompt(Dataset("knowledge_crosswords", (), (), prefix="First one."), example)
        == "First one.\n" + body
    )
    sentence = "Please choose an option that best completes the sentence.\n"
    assert multiple_choice_prompt(Dataset("hellaswag", (), ()), example) == sentence + body


def test_params_are_the_published_ones_unless_the_file_says_more() -> None:
    examples = (Example("q", "A", choices=YES_NO),)
    assert get_eval("multiple_choice").params(Dataset("mmlu_pro", examples, examples)) == GenerationParams(50)
    own = Dataset("my_own", examples, examples, generation={"max_new_tokens": 3, "chat": True})
    assert get_eval("multiple_choice").params(own) == GenerationParams(3, chat=True)


def test_a_dataset_without_choices_is_refused_before_the_start() -> None:
    good = Example("q", "A", choices=YES_NO)
    with pytest.raises(UserError, match=r"toy: test record 1 has no choices.*exact_match"):
        get_eval("multiple_choice").check(Dataset("toy", (good,), (good, Example("q", "7"))))


def test_judge_asks_once_and_fills_both_scorers() -> None:
    dataset = Dataset("normad", (Example("q", "B", choices=YES_NO),) * 3, ())
    judging = get_eval("multiple_choice").judge(dataset, dataset.dev)
    queries = next(judging)
    assert [query.text for query in queries] == [multiple_choice_prompt(dataset, dataset.dev[0])] * 3
    with pytest.raises(StopIteration) as done:
        judging.send(["Answer: B", "The answer is B.", "none"])
    assert {name: scores.tolist() for name, scores in done.value.value.items()} == {
        "strict": [1, 1, 0],
        "compat": [0, 1, 1],
    }


@pytest.mark.parametrize(
    ("reply", "choices", "key"),
    [
        ("Answer: B", YES_NO, "A"),
        ("The answer is B.", YES_NO, "B"),
        ("I think so, yes", YES_NO, "A"),
        ("none", YES_NO, "B"),
        ("", YES_NO, "Z"),
        ("Because", YES_NO, "B"),
        ("Each", TEN, "E"),
        ("Debate", TEN, "D"),
        ("I think the answer is X.", TEN, "I"),
        ("    C      A", YES_NO, "C"),
        ("C A  ", YES_NO, "A"),
        ("     B  ", YES_NO, "B"),
        ("xxxxx B xxxxx", YES_NO, "Z"),
        ("It is NEUTRAL indeed", YES_NO, "C"),
        ("B of A", {"B": "x", "A": "y"}, "B"),
    ],
)
def test_compat_is_the_published_search(reply: str, choices: Mapping[str, str], key: str) -> None:
    assert compat_key(reply, choices) == key


STATED = [
    ("The answer is B.", TEN, "B"),
    ("Answer: B", YES_NO, "B"),
    ("Answer B", TEN, "B"),
    ("Answer - B", TEN, "B"),
    ("**Answer:** B", TEN, "B"),
    ("**Answer**: B", TEN, "B"),
    ("Final answer: (C)", TEN, "C"),
    ("The answer is: **C**: thing ccc", TEN, "C"),
    ("The answer is most likely B", TEN, "B"),
    ("The answer is option b", TEN, "B"),
    ("the answer is b.", TEN, "B"),
    ("The answer is: The correct option is B", TEN, "B"),
    ("So the answer should be (B)", TEN, "B"),
    ("The answer to the question is B.", TEN, "B"),
    ("The correct option is (D).", TEN, "D"),
    ("The correct choice: C", TEN, "C"),
    ("The correct answer is B) no", YES_NO, "B"),
    ("The best answer would be E", TEN, "E"),
    ("I believe the correct answer is option D: thing ddd.", TEN, "D"),
    ("B is the correct answer", TEN, "B"),
    ("A is correct.", TEN, "A"),
    ("Option A is correct", TEN, "A"),
    ("Option A is wrong. Option B is right.", TEN, "B"),
    ("A is incorrect. B is incorrect. C is correct.", TEN, "C"),
    ("I would choose option (E), since A is wrong", TEN, "E"),
    ("I'd go with C", TEN, "C"),
    ("I choose B.", TEN, "B"),
    ("I think it's B", TEN, "B"),
    (r"The answer is $\boxed{\text{D}}$.", TEN, "D"),
    ("The answer is I.", TEN, "I"),
    ("Answer: I", TEN, "I"),
    ("The answer is I because it fits", TEN, "I"),
    ("The answer is A with some doubt", TEN, "A"),
    ("I think the answer is C.", TEN, "C"),
    ("The answer is A. Wait, actually the answer is B.", TEN, "B"),
    ("My answer: B. A is second best", TEN, "B"),
    ("Answer is C as A, B, D are wrong", TEN, "C"),
    ("The answer is B not A", TEN, "B"),
    ("The answer is A and not B", TEN, "A"),
    ("The answer isn't A, it's B", TEN, "B"),
    ("The answer is no, because", YES_NO, "B"),
    ("The answer is I only", ROMAN, "A"),
    ("The answer is I and II only", ROMAN, "C"),
    ("The answer is A process of learning.", SKINNER, "D"),
    ("Answer: Both A and B", SKINNER, "C"),
    ("The answer is 5.", SIGNS, "B"),
    ("The answer is 0.8c", UNITS, "C"),
    ("The answer is B. I think yes would be rude here.", YES_NO, "B"),
    ("The answer would be B. I think yes is rude.", YES_NO, "B"),
    ("The answer is C. If the story had bowing, the answer would be A: yes.", YES_NO, "C"),
    ("C. The correct answer is C: neutral. If the story had bowing, the answer would be A: yes.", YES_NO, "C"),
    ("I think it is neutral. If the story had bowing, the answer would be A.", YES_NO, "C"),
    ("If all of this holds, the answer is B.", TEN, "B"),
    ("The answer is B. People often think it is Mars.", PLANETS, "B"),
    ("Many people say the answer is A, but I think it is Venus.", PLANETS, "B"),
    ("A: Mars is wrong. B: Venus is right.", PLANETS, "B"),
    ("Let me think. A is too cold. B is hot. Therefore B.", COLOURS, "B"),
    ("A is too cold. B is hot. Therefore B.", COLOURS, "B"),
    ("The answer is cafe\u0301.", {"A": "caf\xe9", "B": "tea"}, "A"),
    ("The answer is Ａ", TEN, "A"),
    ("The answer is A", {"Ａ": "red", "Ｂ": "blue"}, "Ａ"),
]
OPENED = [
    ("B", TEN, "B"),
    ("b", TEN, "B"),
    ("b)", TEN, "B"),
    ("(B)", TEN, "B"),
    ("[B]", TEN, "B"),
    ("'B'", TEN, "B"),
    ("**B**", TEN, "B"),
    ("B. no", YES_NO, "B"),
    ("B - no", YES_NO, "B"),
    ("B\n\nBecause A is bad", TEN, "B"),
    ("B Explanation: the choice A. is wrong", TEN, "B"),
    ("A, because", TEN, "A"),
    ("A because it is", TEN, "A"),
    ("I.", TEN, "I"),
    ("C", UNITS, "C"),
    ("B: no Question: Which? A: yes B: no C: neutral The answer is C.", YES_NO, "B"),
    ("B. Question: And this? The answer is C.", YES_NO, "B"),
    ("B. I think yes would be rude.", YES_NO, "B"),
    ("B: no, because in this culture it is neutral to do so", YES_NO, "B"),
    ("B. Although many say it is Mars, Venus is the hottest.", PLANETS, "B"),
    ("B Explanation: A is wrong because it is red", COLOURS, "B"),
    ("A Explanation: B is wrong because it is green", COLOURS, "A"),
    ("B。因为A不对", PLANETS, "B"),
]
TOLD = [
    ("I think so, yes", YES_NO, "A"),
    ("Yes.", YES_NO, "A"),
    ("It is neutral.", YES_NO, "C"),
    ("Vitamin C is thing eee", TEN, "E"),
    ("I and II only", ROMAN, "C"),
    ("B. F. Skinner", SKINNER, "A"),
    ("Both A and B", SKINNER, "C"),
    ("-5", SIGNS, "A"),
    ("It makes 15 in all", SIGNS, "C"),
    ("Therefore, B.", TEN, "B"),
    ("A is wrong, so B", TEN, "B"),
    ("not A but B", TEN, "B"),
    ("Let me think. A good idea would be B", TEN, "B"),
    ("I, for one, think B", TEN, "B"),
    ("A. It is too far. B. It is hot. I think Venus.", PLANETS, "B"),
    ("答案是B。", YES_NO, "B"),
    ("答案是乙。", {"甲": "red", "乙": "blue"}, "乙"),
    ("正解はVenusです", PLANETS, "B"),
    ("A: yes B: no C: neutral The answer is C", YES_NO, "C"),
    ("Question: So? A: yes B: no C: neutral The answer is B.", YES_NO, "B"),
]
NOTHING = [
    ("", YES_NO),
    ("Because", YES_NO),
    ("Each", TEN),
    ("Debate", TEN),
    ("none", YES_NO),
    ("None of the above", YES_NO),
    ("no-one", YES_NO),
    ("I think the answer is X.", TEN),
    ("I don't know", TEN),
    ("I'm not sure", TEN),
    ("As an AI, I cannot answer", TEN),
    ("A good question", TEN),
    ("A 25-year-old man", TEN),
    ("The answer is a good question", TEN),
    ("The answer is A good question", TEN),
    ("The answer is not A.", TEN),
    ("A is wrong.", TEN),
    ("Not B.", TEN),
    ("A and B", TEN),
    ("A or B", TEN),
    ("A, B, C, D", TEN),
    ("The answer is A or B.", TEN),
    ("The answer is A, B and C", TEN),
    ("yes or no", YES_NO),
    ("The answer is yes or no", YES_NO),
    ("A: yes B: no C: neutral", YES_NO),
    ("A) yes B) no C) neutral", YES_NO),
    ("B-cell", TEN),
    ("at 8 A.M. in the U.S.A", TEN),
    ("1.5", SIGNS),
    ("A: Mars is too cold. B: Venus is hot.", PLANETS),
    ("A. It is too far. B. It is hot.", PLANETS),
    ("The answer is the same", {"A": "the same", "B": "The same", "C": "other"}),
]


@pytest.mark.parametrize(("reply", "choices", "key"), STATED + OPENED + TOLD)
def test_strict_reads_the_pick(reply: str, choices: Mapping[str, str], key: str) -> None:
    assert strict_key(reply, choices) == key


@pytest.mark.parametrize(("reply", "choices"), NOTHING)
def test_strict_reads_no_pick_where_there_is_none(reply: str, choices: Mapping[str, str]) -> None:
    assert strict_key(reply, choices) is None


def test_keys_need_not_be_capital_letters() -> None:
    assert strict_key("The answer is (2).", {"1": "red", "2": "blue"}) == "2"
    assert strict_key("1.5 is a number", {"1": "red", "2": "blue"}) is None
    assert strict_key("a cat is an animal", {"a": "red", "b": "blue"}) is None
    assert strict_key("Answer: B", {"b": "red", "B": "blue"}) == "B"


@pytest.mark.parametrize("name", ["mmlu", "knowledge_crosswords"])
@pytest.mark.parametrize(
    "template",
    [
        "{key}. {text}",
        "({key}) {text}",
        "Answer: {key}",
        "The answer is {text}.",
        "{text}",
        "I think the answer is {key} because it fits best.",
        "{asked} {key}: {text}",
        "{key}\n\nExplanation: {text} is right.",
        "{key}. I think {other} would be wrong.",
        "The answer is {key}. People often think it is {other}.",
        "答案是{key}。",
        "{key}. {text}\n\nQuestion: What else?\nA: this\nB: that\nThe answer is A",
    ],
)
def test_right_replies_are_right_on_published_questions(name: str, template: str) -> None:
    dataset = published(name)
    for example in dataset.test:
        text = example.choices[example.answer]
        if list(example.choices.values()).count(text) > 1:
            continue  # a text that two choices have picks neither
        asked = multiple_choice_prompt(dataset, example)
        other = next(choice for key, choice in example.choices.items() if key != example.answer)
        reply = template.format(key=example.answer, text=text, asked=asked, other=other)
        assert strict_key(reply, example.choices, (asked,)) == example.answer, (reply, example.choices)


@pytest.mark.parametrize("name", ["mmlu", "knowledge_crosswords"])
def test_an_echo_picks_nothing(name: str) -> None:
    dataset = published(name)
    for example in dataset.test:
        asked = multiple_choice_prompt(dataset, example)
        assert strict_key(asked, example.choices, (asked, dataset.prefix, example.question)) is None
        choices = " ".join(f"{key}: {text}" for key, text in example.choices.items())
        assert strict_key(choices, example.choices) is None


def test_a_constant_reply_falls_to_chance() -> None:
    examples = published("mmlu").test
    lost = sum(compat_key(f"Answer: {example.answer}", example.choices) != example.answer for example in examples)
    assert 0.63 < lost / len(examples) < 0.87, "the published rule's loss on right replies"
    won = sum(strict_key("Answer: B", example.choices) == example.answer for example in examples)
    assert won == sum(example.answer == "B" for example in examples)


TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(["yes", "no", "Both A and B", "5", "-5", "A", ".", "ß"]))
CHOICES = st.dictionaries(st.sampled_from(["A", "B", "I", "a", "1", "10", "(", "ß"]), TEXTS, min_size=1)
PIECES = st.lists(
    st.sampled_from(
        ["answer is ", "A", "B", "I", " or ", " is wrong", ". ", "(", "yes", "no", "not ", "Question:", ": "]
    )
)
REPLIES = st.one_of(st.text(), PIECES.map("".join))


@given(REPLIES, CHOICES, st.text())
def test_strict_reads_any_text_as_a_key_or_none(reply: str, choices: dict[str, str], asked: str) -> None:
    assert strict_key(reply, choices, (asked,)) in {*choices, None}


@given(REPLIES, CHOICES)
def test_compat_equals_a_restatement(reply: str, choices: dict[str, str]) -> None:
    hits = [key for key in choices if key in reply[:5]]
    hits += [key for key in choices if key in reply[-5:]]
    hits += [key for key, text in choices.items() if text.lower() in reply.lower()]
    assert compat_key(reply, choices) == [*hits, "Z"][0]
