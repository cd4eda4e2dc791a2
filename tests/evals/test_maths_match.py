"""Guards maths_match: equal in value is right, whatever the form; hostile expressions end in time."""

import pytest

from swarm.data.example import Dataset, Example
from swarm.errors import UserError
from swarm.evals import get_eval, maths_match

QUESTION = "Simplify as far as you can."


def score(reply, gold, name="maths_match"):
    example = Example(QUESTION, gold)
    evaluation = get_eval(name)
    judging = evaluation.judge(Dataset("algebra", (example,), (example,)), [example])
    next(judging)
    with pytest.raises(StopIteration) as done:
        judging.send([reply])
    return float(done.value.value["strict"][0])


@pytest.mark.parametrize(
    ("reply", "gold"),
    [
        (r"So we get \boxed{0.75}", r"\frac{3}{4}"),
        (r"Hence $(y-2)^2$.", "$y^2-4y+4$"),
        (r"The interval is $[0,3)$.", "[0,3)"),
        (r"It is $\sqrt{12}$.", r"2\sqrt{3}"),
        (r"The set is $\{3, 1\}$", r"\{1,3\}"),
        ("The answer is 18.", "18"),
    ],
)
def test_what_is_equal_is_right(reply, gold):
    assert score(reply, gold) == 1.0
    assert score("It is $y + 1$, or \\boxed{77}.", gold) == 0.0
    assert score("", gold) == 0.0


def test_exact_match_itself_stays_as_it_is():
    assert score(r"Hence $(y-2)^2$.", "$y^2-4y+4$", "exact_match") == 0.0


def test_an_expression_that_takes_for_ever_is_not_equal_and_the_next_one_is_read(monkeypatch, caplog):
    monkeypatch.setattr(maths_match, "_SECONDS", 0.5)
    assert score("$1/2$", "0.5") == 1.0  # the library is loaded
    assert score("It is $9^{9^{9}}$.", "7") == 0.0
    assert "cannot be compared within 0.5 s" in caplog.text
    assert score("$2/4$", "0.5") == 1.0


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(maths_match.importlib.util, "find_spec", lambda name: None)
    example = Example(QUESTION, "1")
    with pytest.raises(UserError, match=r"needs math-verify.*pip install .*\[maths\]"):
        get_eval("maths_match").check(Dataset("algebra", (example,), (example,)))
