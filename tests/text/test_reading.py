"""Replies are read as a careful person would read them: thoughts, numbers, denials, lists, choices, ratings."""

import signal
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.data.example import Example
from swarm.evals.exact_match import strict
from swarm.evals.multiple_choice import strict_key
from swarm.system.prompts import Answer, tidy_answer
from swarm.text.answers import final_word
from swarm.text.numbers import final_number
from swarm.text.ratings import read_rating
from swarm.text.replies import own_text
from swarm.text.thoughts import without_thoughts
from swarm.text.written_numbers import plain_numbers, word_number

LOAVES = "A baker bakes bread on Monday. How many loaves are sold in one week?"
DUKE = "Which town was the seat of the duke?"
GAS = "Which element is a noble gas?"
ELEMENTS = {"A": "copper", "B": "helium", "C": "sodium", "D": "sulfur"}
# gold, reply, whether it is right
NUMBERS = [
    ("36", "<thinking>36? no wait, 40.</thinking>36 loaves", 1),
    ("36", "[THINK]It is 40.[/THINK]36", 1),
    ("40", "[THINK]It is 40.[/THINK]36", 0),
    ("36", "◁think▷maybe 40◁/think▷ The answer is 36.", 1),
    ("36", "<|begin_of_thought|>40<|end_of_thought|><|begin_of_solution|>36<|end_of_solution|>", 1),
    ("36", "analysisWe compute 40 first.assistantfinalThe answer is 36.", 1),
    ("36", "<think>a</think><think>The answer is 40</think>36", 1),
    ("36", "The answer is 36.<think>check: 40", 1),
    ("36", "<think>The answer is 36", 0),
    ("36", "<reasoning>40 is wrong</reasoning><answer>36</answer>", 1),
    ("1200", "\\[ x = 1{,}200 \\]", 1),
    ("12500", "$12\\,500$", 1),
    ("0.75", "\\boxed{\\dfrac{3}{4}}", 1),
    ("2.5", "\\boxed{2\\frac{1}{2}}", 1),
    ("15", "\\boxed{15\\%}", 1),
    ("18", "\\boxed{18\\text{ dollars}}", 1),
    ("18", "$\\boxed{18 \\text{ loaves}}$", 1),
    ("3000", "The result is \\boxed{3 \\times 10^{3}}", 1),
    ("-7", "\\boxed{-7}", 1),
    ("1500000", "The answer is 1.5 million.", 1),
    ("2000", "That makes two thousand.", 1),
    ("42", "The answer is forty-two.", 1),
    ("42", "Forty-two loaves.", 1),
    ("12", "A dozen.", 1),
    ("300", "three hundred", 1),
    ("36", "The answer is thirty-six loaves.", 1),
    ("36", "The answer is 30-40.", 0),
    ("36", "The answer is between 30 and 36.", 0),
    ("36", "The answer is 36-40.", 0),
    ("36", "I get 40. No, wait, 36.", 1),
    ("40", "I get 40. No, wait, 36.", 0),
    ("36", "The answer is 40. Correction: 36.", 1),
    ("36", "The answer is 40... oops, 36.", 1),
    ("36", "The answer is 40. Actually, it is 36.", 1),
    ("36", "It is 36, because each of the 6 days has 6 loaves.", 1),
    ("36", "36 loaves are sold since 6 times 6 is 36", 1),
    ("36", "Die Antwort lautet 36, denn 6 mal 6 ergibt das.", 1),
    ("36", "Antwort: 36 (6 mal 6)", 1),
    ("1200", "Die Antwort ist 1.200.", 1),
    ("7.5", "Die Antwort ist 7,5.", 1),
    ("7.5", "La réponse est 7,5.", 1),
    ("1234567", "The answer is 1.234.567", 1),
    ("1234.5", "Die Antwort ist 1.234,5 Euro.", 1),
    ("36", "Ответ: 36, потому что 6 умножить на 6.", 1),
    ("36", "答えは36です。なぜなら6かける6だからです。", 1),
    ("36", "คำตอบคือ 36 เพราะ 6 คูณ 6", 1),
    ("36", "Jibu ni 36 kwa sababu 6 mara 6.", 1),
    ("36", "উত্তর হল ৩৬ কারণ ৬ গুণ ৬।", 1),
    ("36", "సమాధానం 36 ఎందుకంటే 6 సార్లు 6", 1),
    ("36", "36\n\nExercise 2: How many in two weeks?\nAnswer: 72", 1),
    ("72", "36\n\nExercise 2: How many in two weeks?\nAnswer: 72", 0),
    ("36", "The answer is 36.\nHuman: and in two weeks?\nAssistant: 72", 1),
    ("36", "#### 36\n\n### Instruction:\nAdd 5 and 4.\n### Response:\n9", 1),
    ("36", "36\n\nQ2. What about 3 weeks?\nA2. 108", 1),
    ("$36", "It costs $36.00.", 1),
    ("36", "36 €", 1),
    ("36", "EUR 36", 1),
    ("36", "36,00 €", 1),
    ("5", "(5)", 1),
    ("36", "x=36", 1),
    ("9000", "2 hundred? No: 9 thousand.", 1),
    ("36", "There are 36 (thirty-six) loaves.", 1),
    ("36", "After 3 weeks: 36.", 1),
    ("36", "- 6 on Monday\n- 30 on Tuesday\n\nTotal: 36", 1),
    ("0.5", "one half", 0),
    ("1000000", "10^6", 1),
    ("0.001", "1e-3", 1),
    ("36", "36.0", 1),
    ("36", "Answer: 36 or 40", 0),
]
TEXTS = [
    ("Ghent", "It was not Ghent.", 0),
    ("Ghent", "It was Ghent, not Bruges.", 1),
    ("Ghent", "Bruges, not Ghent", 0),
    ("Ghent", "It wasn't Ghent but Bruges", 0),
    ("Bruges", "It wasn't Ghent but Bruges", 1),
    ("Ghent", "I don't think it was Ghent.", 0),
    ("Ghent", "Ghent is incorrect.", 0),
    ("Ghent", "Ghent? No.", 0),
    ("Ghent", "Ghent can be ruled out.", 0),
    ("Ghent", "Either Ghent or Bruges.", 0),
    ("Ghent", "Ghent, Bruges, Ypres, Leuven", 0),
    ("Ghent", "Possible answers: Ghent, Bruges and Ypres", 0),
    ("Ghent", "- Ghent\n- Bruges\n- Ypres", 0),
    ("Ghent", "Ghent / Bruges / Ypres", 0),
    ("Ghent", "Ghent (Belgium)", 1),
    ("Ghent", "Ghent, Belgium", 1),
    ("Ghent", "The answer is Ghent, a town in Flanders.", 1),
    ("Ghent", "The answer is Bruges. Ghent came later.", 0),
    ("Ghent", "**Ghent**", 1),
    ("Ghent", '"Ghent"', 1),
    ("Ghent", "The answer is: Ghent.", 1),
    ("Ghent", "It is not easy to say, but the answer is Ghent.", 1),
    ("Ghent", "There is no doubt: Ghent.", 1),
    ("Ghent", "Not only Ghent", 1),
    ("Ghent", "Rather than Ghent, it was Bruges.", 0),
    ("St. Ives", "The answer is St. Ives.", 1),
    ("New York", "The answer is New York City.", 1),
    ("a, c, d", "a,c,d", 1),
    ("a, c, d", "a, c, d, e", 0),
    ("a, c, d", "a, c", 0),
    ("a, c, d", "The answer is a, c, d, because b fails.", 1),
    ("a, c, d", "b, a, c, d", 0),
    ("(2, 5)", "The point is (2,5).", 1),
    ("[1, 2]", "[1,2]", 1),
    ("y = 2x + 1", "y=2x+1", 1),
    ("B", "B", 1),
    ("B", "The answer is B.", 1),
    ("A", "A few of them", 0),
    ("A", "The answer is A", 1),
    ("True", "It is not false.", 1),
    ("False", "That isn't true.", 1),
    ("True", "It can't be true.", 0),
    ("Yes", "Yes, it does.", 1),
    ("No", "Yes, it does.", 0),
    ("No", "No.", 1),
    ("Yes", "Not sure, yes or no.", 0),
    ("Lake Geneva", "lake geneva", 1),
    ("1848-1850", "1848-1850", 1),
    ("5:30", "It starts at 5:30.", 1),
]
CHOICES = [
    ("B", "B\n\nC is a metal.", 1),
    ("B", "B\nBecause A and C are metals.", 1),
    ("B", "Copper and sodium are metals, sulfur is a solid. This leaves helium.", 1),
    ("B", "That leaves only B.", 1),
    ("B", "which leaves us with B.", 1),
    ("B", "A: wrong. B: right. C: wrong. D: wrong.", 1),
    ("B", "A - false, B - true, C - false, D - false", 1),
    ("B", "(A) No (B) Yes (C) No (D) No", 1),
    ("C", "(A) No (B) Yes (C) No (D) No", 0),
    ("B", "I don't think the answer is B.", 0),
    ("B", "The answer can't be B.", 0),
    ("B", "We can eliminate B.", 0),
    ("B", "B is ruled out.", 0),
    ("B", "It isn't helium.", 0),
    ("B", "Not B", 0),
    ("B", "B? Definitely not.", 0),
    ("B", "helium? No.", 0),
    ("B", "Anything but B", 0),
    ("B", "Answer - B", 1),
    ("B", "Verdict: B", 1),
    ("B", "Conclusion: B, since A is a metal", 1),
    ("B", "A? No, correction: B", 1),
    ("B", "First I thought A. The answer is B.", 1),
    ("B", "Final choice: (B)", 1),
    ("B", "My pick: B", 1),
    ("B", "<think>A?</think>B", 1),
    ("A", "<think>A?</think>B", 0),
    ("B", "[THINK]the answer is A[/THINK]\nThe answer is B", 1),
    ("B", "B and C", 0),
    ("B", "A, B, C, D", 0),
    ("B", "All of them", 0),
    ("B", "Both A and B", 0),
    ("B", "Die Antwort ist B, weil A ein Metall ist.", 1),
    ("B", "La respuesta correcta es B porque A es un metal.", 1),
    ("B", "La réponse est B car A est un métal.", 1),
    ("B", "正确答案是B，因为A是金属。", 1),
    ("B", "Правильный ответ: B, потому что A металл", 1),
    ("B", "答えはBです", 1),
    ("B", "The correct option is B) helium.", 1),
    ("B", "Option B", 1),
    ("B", "B: helium\nA: copper is a metal", 1),
    ("B", "\\boxed{B}", 1),
    ("B", "The answer is (B).\n\nQ: Which is a metal?\nThe answer is A", 1),
    ("B", "**Correct answer:** B. helium", 1),
    ("B", "I choose B", 1),
    ("B", "It must be helium", 1),
    ("B", "helium is the noble gas; copper is not.", 1),
    ("B", "Only B remains.", 1),
    ("D", "None of A, B, C; so D", 1),
]
RATINGS = [
    ("Score: 4/5", 8),
    ("Overall: 7/10\nStyle: 3/10", 7),
    ("Accuracy: 8/10\nStyle: 6/10\nOverall: 7/10", 7),
    ("★★★★☆", 8),
    ("Rating: ⭐⭐⭐", 6),
    ("rating - 6", 6),
    ("I'd rate this 6/10.", 6),
    ("I rate it 6 out of 10", 6),
    ("6 out of 10", 6),
    ("Rating: eight out of ten", 8),
    ("Note : 7/10", 7),
    ("Puntuación: 9/10", 9),
    ("评分：8/10", 8),
    ("評価: 7/10", 7),
    ("Оценка: 6/10", 6),
    ('{"score": "8/10", "comment": "2 of 3"}', 8),
    ('Here: {"overall_rating": 9}', 9),
    ("The rating is about 7", 7),
    ("**Final score:** 5/10", 5),
    ("My rating would be 5/10", 5),
    ("Rating: 90%", 9),
    ("Rating: 70 / 100", 7),
    ("Rating: 5 to 6", None),
    ("Rating: ten", 10),
    ("Accuracy: 8/10\nStyle: 6/10", None),
    ("[thinking] 3/10 [/thinking] Rating: 9/10", 9),
    ("1. good\n2. fine\nScore = 9", 9),
    ("The answer names 3 of 4.", None),
    ("Rating\n\n**7/10**", 7),
    ("| Score |\n|---|\n| 7 |", 7),
    ("Rating: 8/10\nRating of style: 3/10", 8),
]


@pytest.mark.parametrize(("gold", "reply", "right"), NUMBERS)
def test_numbers(gold, reply, right):
    assert strict(tidy_answer(reply), Example(LOAVES, gold)) == bool(right)


@pytest.mark.parametrize(("gold", "reply", "right"), TEXTS)
def test_texts(gold, reply, right):
    assert strict(tidy_answer(reply), Example(DUKE, gold)) == bool(right)


@pytest.mark.parametrize(("gold", "reply", "right"), CHOICES)
def test_choices(gold, reply, right):
    assert (strict_key(tidy_answer(reply), ELEMENTS, (GAS,)) == gold) == bool(right)


@pytest.mark.parametrize(("reply", "rating"), RATINGS)
def test_ratings(reply, rating):
    assert read_rating(reply) == rating


def test_a_choice_that_denies_the_others_is_one():
    choices = {"A": "red", "B": "blue", "C": "none of the above"}
    for reply in ("none of the above", "The answer is none of the above.", "C. None of the above"):
        assert strict_key(reply, choices) == "C"


def test_the_hub_s_gold_is_the_number_behind_its_chain():
    chain = "Each has 3.\n3*12=<<3*12=36>>36\n#### 1,036"
    assert strict("So it is 1036.", Example(LOAVES, chain)) and not strict("36", Example(LOAVES, chain))


GOLDS = (
    "36",
    "-2.5",
    "1/3",
    "1,200",
    "Ghent",
    "St. Ives",
    "a, c, d",
    "(2, 5)",
    "yes",
    "No",
    "True",
    "B",
    "x = 3",
    "1848-1850",
    "New York",
    "36%",
)
SAID = (
    "{}", "{}.", "The answer is {}.", "Answer: {}", "**{}**", "#### {}", "Final answer: {}",
    "<think>Hm, 7 or Bruges?</think>\n{}",
    "Let me think.\n\nThe answer is {}.", "The answer is {}.\n\nQuestion: Who?\nAnswer: nobody",
)  # fmt: skip


@pytest.mark.parametrize("gold", GOLDS)
def test_every_gold_said_in_ten_ways_is_right(gold):
    for said in SAID:
        assert strict(tidy_answer(said.format(gold)), Example(DUKE, gold)), said


@pytest.mark.parametrize(
    "reply", ["", " ", "unknown", "; ".join(GOLDS), "\n".join(GOLDS), " or ".join(GOLDS), ", ".join(GOLDS)]
)
def test_no_constant_reply_wins(reply):
    """Of so many golds a reply may have one or two by chance, such as the last that it lists."""
    assert sum(strict(tidy_answer(reply), Example(DUKE, gold)) for gold in GOLDS) <= 2


CANDIDATES = ("Ghent", "the town of Bruges in West Flanders", "Ypres", "Leuven", "the old county of Namur", "Mons")


@pytest.mark.parametrize("separator", ["; ", "\n", " | ", " or ", "\n- "])
def test_who_lists_all_candidates_has_picked_none(separator):
    reply = tidy_answer(separator.join(CANDIDATES))
    assert not any(strict(reply, Example(DUKE, gold)) for gold in CANDIDATES)
    letters = tidy_answer(separator.join("BACD"))
    assert strict_key(letters, ELEMENTS) is None
    assert strict(
        tidy_answer("Ghent\n\nIt was the seat of the duke.\nHe lived there.\nThen he died."), Example(DUKE, "Ghent")
    )


def test_thoughts_are_dropped_only_where_there_are_some():
    assert without_thoughts("I think that a < b and [1] holds.") == "I think that a < b and [1] holds."
    assert without_thoughts("Said. <think>more</think>") == "Said."
    assert without_thoughts("<think>never closed") == "" == without_thoughts("<THINK> x </Think>")


@given(st.text(), st.text(st.characters(exclude_characters="<[◁"), max_size=30))
def test_what_follows_the_last_thought_is_all_that_counts(thought, answer):
    assert without_thoughts(f"<think>{thought}</think>{answer.strip()}") in (
        answer.strip(),
        without_thoughts(answer.strip()),
    )


@given(st.integers(-(10**9), 10**9), st.integers(0, 3))
def test_a_number_is_read_however_it_is_grouped(value, way):
    digits = f"{value:,}"
    digits = (digits, digits.replace(",", ""), digits.replace(",", "'"), digits.replace(",", "{,}"))[way]
    assert final_number(f"The answer is {digits}.") == value


@pytest.mark.parametrize(
    ("words", "value"),
    [("seven", 7), ("minus twenty-one", -21), ("one hundred and five", 105), ("two thousand three hundred", 2300),
     ("a million", 1_000_000), ("three dozen", 36), ("this one", None), ("no number", None), ("seven of 9", None)],
)  # fmt: skip
def test_words_of_numbers(words, value):
    assert word_number(words) == value


def test_separators_of_languages():
    assert plain_numbers("1.200", english=False) == "1200" and plain_numbers("1.200") == "1.200"
    assert plain_numbers("7,5", english=False) == "7.5" and plain_numbers("7,5") == "7,5"
    assert plain_numbers("1.234.567") == "1234567" and plain_numbers("1.234,5") == "1234.5"


def test_an_answer_keeps_its_lines_for_who_reads_it():
    answer = tidy_answer("  B\n\nA is wrong. ")
    assert answer == "B  A is wrong." and isinstance(answer, Answer) and answer.written == "B\n\nA is wrong."
    assert type(tidy_answer("B")) is str
    assert own_text("First.\n\n Second  line", "not there") == "First.\nSecond line"
    assert own_text("What is red or\nblue? Red.", "What is red or blue?").strip() == "Red."


PIECES = st.lists(
    st.sampled_from(
        ["*", "_", " ", "\n", *"7,./-(A", "Rating", "<think>", "or ", "not ", "Q:", "answer is ", "because"]
    ),
    max_size=60,
)


@settings(deadline=None)
@given(st.text(max_size=200) | PIECES.map("".join))
def test_any_reply_is_read(reply):
    for gold in ("7", "Ghent", "a, b", "yes", "True"):
        assert strict(tidy_answer(reply), Example(DUKE, gold)) in (True, False)
    assert strict_key(tidy_answer(reply), ELEMENTS) in (None, *ELEMENTS)
    assert read_rating(reply) in (None, *range(1, 11))


@pytest.mark.parametrize(
    "unit",
    [
        "*",
        " ",
        "\n",
        "Rating ",
        "<think>",
        "1,",
        "7 or ",
        "the answer is ",
        "\\frac",
        "A or B, ",
        "not ",
        "a, ",
        "((",
        "Q: x\n",
        "__7",
    ],
)
def test_a_long_reply_keeps_nobody_waiting(unit):
    """Work that grows with the square of 100,000 characters would take minutes; it is given up after one."""

    def give_up(number, frame):
        raise AssertionError(f"{unit!r} again and again is read for more than a minute")

    before = signal.signal(signal.SIGVTALRM, give_up)  # of processor time, so that a busy machine changes nothing
    reply = unit * (100_000 // len(unit)) + " 7"
    try:
        for read in (
            lambda: strict(reply, Example(DUKE, "7")),
            lambda: strict(reply, Example(DUKE, "Ghent")),
            lambda: strict_key(reply, ELEMENTS),
            lambda: read_rating(reply),
        ):
            signal.setitimer(signal.ITIMER_VIRTUAL, 60)
            read()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def calls_of(read):
    """How many functions are called, of Python and of C, while something is read."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        read()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "unit", ["It is 7, or 8. ", "the answer is B\n", "A: copper\nB: helium\n", "Rating: 3/10. ", "no "]
)
def test_twice_the_reply_is_at_most_a_little_more_than_twice_the_work(unit):
    for read in (
        lambda reply: strict(reply, Example(DUKE, "7")),
        lambda reply: strict(reply, Example(DUKE, "No")),
        lambda reply: strict(reply, Example(DUKE, "Ghent")),
        lambda reply: strict_key(reply, ELEMENTS),
        read_rating,
    ):
        once, twice = (calls_of(lambda: read(unit * count)) for count in (600, 1200))  # noqa: B023
        assert twice <= 2.2 * once + 200


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("The way between node 4 and node 9 is the way between node 9 and node 4.", None),
        ("Node 4, so node 4.", 4),
        ("From node 4 to node 9 it takes 13.", 13),
        ("How many pears do 3 boys have with 7 each?\nHow many pears do 3 boys have with 7 each?\nHow many pea", None),
        ("So 21. What else can I do for you?", 21),
        ("A. 10\nB. 20\nC. 30\n\nA. 10\nB. 20\nC. 30\nD", None),
        ("A. $10\nB. $20\nC. $30\n\nAnswer: B\n\nThe answer is B.", 20),
        ("1. 5 * 3 = 15\n2. 15 + 6 = 21", 21),
        ("The answer is 7.\nThe answer is 9.\nThe answer is 7.\nThe answer is 9.", None),
        ("The answer is 7.\nThe answer is 9.\nThe answer is 9.\nThe answer is 9.", 9),
        ("The answer is 20.\nThe answer is 20.\nThe answer is 20.\nThe answer is 2", 20),
        ("200 + 6 is more than 206 - 7.\n20", 20),
        ("18, 19, 18, 19, 18,", None),
        ("3*7=21", 21),
        ("They leave at 8:00 pm.", 8),
        ("They leave at 8:30 pm.", None),
        ("<strong>Answer:</strong>\n\n21 pears", 21),
    ],
)
def test_what_a_small_model_babbles_is_no_number(reply, number):
    assert final_number(own_text(tidy_answer(reply).written if "\n" in reply else reply)) == number


def test_what_was_asked_is_not_said_by_repeating_its_beginning():
    question = "A farmer has 12 hens, 3 cocks and 40 eggs in the barn. How many birds does the farmer have?"
    assert own_text(f"{question}\n\n{question}\n\nA farmer has 12", question).strip() == ""
    assert own_text("A farmer has 12 hens, 3 cocks and", question).strip() == ""
    assert own_text("A farmer has 15 birds.", question) == "A farmer has 15 birds."
    assert own_text("15. A", question) == "15. A"


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        ("A. Yes\nB. No\nC. No\nAnswer:\nA. Yes\nB. No", None),
        ("Yes:\nNo:\nYes:\nNo:\nYes", None),
        ("Yes.\nYes.", "yes"),
        ("No, because yes would need a bridge.", "no"),
    ],
)
def test_who_says_yes_and_no_in_turn_has_said_neither(reply, word):
    assert final_word(own_text(reply), ("yes", "no")) == word


def test_a_copy_of_the_choices_picks_none():
    copy = "".join(f"{key}: {text}\n" for key, text in ELEMENTS.items())
    assert strict_key(tidy_answer(f":\n{copy}The answer is:\n{copy[:22]}"), ELEMENTS) is None
    assert strict_key(tidy_answer(f"{copy}\nB"), ELEMENTS) == "B"
    assert strict_key("<B>", ELEMENTS) == "B"
