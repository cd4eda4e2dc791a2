"""Metrics of plugins: a function or a class, with options, known by their code, and named when they fail."""

import json

import pytest

from swarm.errors import UserError
from swarm.metrics.table import get_metric
from swarm.plugins import find_plugin

FUNCTION = """
from swarm.plugins import register

@register("metrics", "shorter")
def shorter(answer, reference, weight=1.0):
    return weight * (len(answer) < len(reference))
"""
CLASS = """
from swarm.plugins import register

@register("metrics", "shared")
class Shared:
    def __init__(self, letters="abc"):
        self.letters = letters

    def settings(self):
        return {"of": len(self.letters)}

    def score(self, answers, references):
        return [sum(c in a and c in r for c in self.letters) for a, r in zip(answers, references)]
"""


def test_a_function_scores_every_answer_beside_its_reference(use_plugin):
    use_plugin(FUNCTION)
    assert get_metric("shorter").score(["a", "abc"], ["ab", "ab"]) == [1.0, 0.0]
    metric = get_metric("shorter", weight=0.5)
    assert metric.score(["a"], ["ab"]) == [0.5] and metric.name == "shorter"
    assert metric.settings() == {"weight": 0.5, "code": find_plugin("metrics", "shorter").code}


def test_a_class_is_made_with_the_options(use_plugin):
    use_plugin(CLASS)
    metric = get_metric("shared", letters="ax")
    assert metric.score(["ab", "x"], ["a", "xa"]) == [1.0, 1.0] and metric.score([], []) == []
    assert metric.settings() == {"letters": "ax", "of": 2, "code": find_plugin("metrics", "shared").code}
    assert json.loads(json.dumps(metric.settings())) == metric.settings()


@pytest.mark.parametrize(
    ("code", "options", "message"),
    [
        (FUNCTION, {"colour": 1}, "'shorter' of .* does not take these options .colour.: got an unexpected keyword"),
        (CLASS, {"colour": 1}, "metric 'shared' of .*own_plugin.py, line 4 does not take these options"),
        (CLASS.replace("self.letters = letters", "1 / 0"), {}, "raised ZeroDivisionError: .*line 7"),
        (CLASS.replace("def score", "def scores"), {}, "has no method score"),
        (CLASS.replace("len(self.letters)}", "{1}}"), {}, "raised TypeError: .*set is not JSON serializable"),
        ("from swarm.plugins import register\nregister('metrics', 'shorter')(7)", {}, "is int; wanted a class with"),
    ],
)
def test_what_is_no_metric_is_refused_before_anything_is_asked(use_plugin, code, options, message):
    use_plugin(code)
    with pytest.raises(UserError, match=message) as refused:
        get_metric("shared" if code.startswith(CLASS[:80]) else "shorter", **options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1 / 0", "metric 'shorter' of .* raised ZeroDivisionError: .*own_plugin.py, line 6"),
        ("return 'good'", "raised ValueError: could not convert string to float"),
        ("return None", "raised TypeError: float"),
        ("return float('nan')", "gave answer 0 the score nan; wanted a finite number"),
    ],
)
def test_what_goes_wrong_in_it_is_named(use_plugin, body, message):
    use_plugin(FUNCTION.replace("return weight * (len(answer) < len(reference))", body))
    with pytest.raises(UserError, match=message):
        get_metric("shorter").score(["a"], ["b"])


def test_there_is_a_score_for_each(use_plugin):
    use_plugin(CLASS.replace("for a, r in zip(answers, references)", "for a, r in zip(answers[:1], references)"))
    with pytest.raises(UserError, match="gave 1 scores for 2 answers; wanted as many"):
        get_metric("shared").score(["a", "b"], ["a", "b"])
    with pytest.raises(UserError, match="2 answers and 1 references"):
        get_metric("shared").score(["a", "b"], ["a"])


def test_an_unknown_one_lists_those_of_plugins(use_plugin):
    use_plugin(FUNCTION)
    with pytest.raises(UserError, match="'bleurt'; give one of bleu, .*, choice, shorter; a plugin's needs its"):
        get_metric("bleurt")
