"""Evals of other people's: named by file or by entry point, and blamed by name when they fail."""

import numpy as np
import pytest

from swarm.data.example import Dataset, Example
from swarm.errors import UserError
from swarm.evals import get_eval

EXAMPLES = (Example("one?", "1"), Example("two?", "2"))
DATA = Dataset("numbers", EXAMPLES, EXAMPLES, prefix="Count.")


@pytest.fixture
def plugin(tmp_path):
    """Writes an eval file and gives the name `path:wanted`."""

    def write(code, wanted="score"):
        path = tmp_path / "my_eval.py"
        path.write_text(code)
        return f"{path}:{wanted}"

    return write


def scores_of(evaluation, replies):
    judging = evaluation.judge(DATA, EXAMPLES)
    queries = next(judging)
    with pytest.raises(StopIteration) as finished:
        judging.send(replies)
    return [query.text for query in queries], finished.value.value


def test_a_function_is_an_eval(plugin):
    evaluation = get_eval(plugin("def score(reply, example):\n    return float(example.answer in reply)\n"))
    assert evaluation.name == "my_eval.py:score"
    assert (evaluation.lowest, evaluation.highest, evaluation.scorers) == (0, 1, ("strict",))
    asked, scores = scores_of(evaluation, ["it is 1", "it is 1"])
    assert asked == ["Count.\none?", "Count.\ntwo?"]
    assert scores["strict"].tolist() == [1, 0]


def test_a_function_declares_its_range(plugin):
    code = "def score(reply, example):\n    return -len(reply)\nscore.lowest, score.highest = -100, 0\n"
    evaluation = get_eval(plugin(code))
    assert (evaluation.lowest, evaluation.highest) == (-100, 0)
    assert scores_of(evaluation, ["abc", ""])[1]["strict"].tolist() == [-3, 0]


CLASS = """
from dataclasses import dataclass
import numpy as np
from swarm.evals.eval import Eval

@dataclass
class Rating:
    value: float

class Twice(Eval):
    name, scorers, passes = "twice", ("strict", "length"), 2
    def judge(self, dataset, examples):
        first = yield [example.question for example in examples]
        second = yield [f"Again: {text}" for text in first]
        return {"strict": [Rating(float(a == b)).value for a, b in zip(first, second)], "length": [0, 1]}

instance = Twice()
"""


@pytest.mark.parametrize("wanted", ["Twice", "instance"])
def test_a_class_or_an_instance_with_passes_of_its_own(plugin, wanted):
    evaluation = get_eval(plugin(CLASS, wanted))
    assert (evaluation.passes, evaluation.scorers) == (2, ("strict", "length"))
    judging = evaluation.judge(DATA, EXAMPLES)
    assert [query.text for query in next(judging)] == ["one?", "two?"], "texts are as good as queries"
    assert [query.text for query in judging.send(["a", "b"])] == ["Again: a", "Again: b"]
    with pytest.raises(StopIteration) as finished:
        judging.send(["a", "c"])
    assert finished.value.value["strict"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def other(reply, example): return 1", r"has no 'score'; it offers -e \S+my_eval.py:other$"),
        ("from math import sin\n", "has no 'score'; it offers none: define one"),
        ("score = 3", "is int; wanted a subclass of swarm.evals.eval.Eval"),
        ("def score(:", "cannot be run, line 1: SyntaxError"),
        ("import sys; sys.exit(0)", "cannot be run, line 1: SystemExit"),
        ("\nimport nowhere_at_all\n", "cannot be run, line 2: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def score(a, b): return 1\nscore.higher_is_better = False", "lower is better: return the negative"),
        ("def score(a, b): return 1\nscore.highest = float('inf')", "has the range 0.0 to inf"),
        ("def score(a, b): return 1\nscore.lowest = None", "has the range None to 1.0; wanted two rising numbers"),
        (
            "from swarm.evals.eval import Eval\nclass score(Eval):\n  scorers = ('strict')\n"
            "  def judge(self, d, e): yield []",
            "has the scorers 'strict'; wanted names such as",
        ),
        (
            "from swarm.evals.eval import Eval\nclass score(Eval):\n  def __init__(self, x): pass\n"
            "  def judge(self, d, e): yield []",
            "cannot be made .TypeError.*takes nothing, or a parameter `judge`",
        ),
    ],
)
def test_what_is_no_eval_is_refused_in_one_line(plugin, code, message):
    with pytest.raises(UserError, match=message) as refused:
        get_eval(plugin(code))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_names_nothing(plugin, tmp_path):
    with pytest.raises(UserError, match=r"no eval file \S+other.py"):
        get_eval(f"{tmp_path}/other.py:score")
    with pytest.raises(UserError, match="was named without an eval in it; it offers"):
        get_eval(plugin("def score(reply, example): return 1").rpartition(":")[0])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("return 1 / 0", r"eval my_eval.py:score raised ZeroDivisionError: .* \(\S+my_eval.py, line 2\)"),
        ("raise SystemExit(0)", "eval my_eval.py:score raised SystemExit"),
        ("import json; return json.loads(reply)", r"raised JSONDecodeError: .*my_eval.py, line 2"),
        ("return 'good'", "eval my_eval.py:score gave example 0, with the reply 'a', the score 'good'; wanted"),
        ("return [1, 2, 3] if reply == 'a' else 1", r"the score \[1, 2, 3\]; wanted a number"),
        ("pass", "gave example 0, .* the score None; wanted a number"),
    ],
)
def test_what_it_raises_is_reported_with_its_line(plugin, code, message):
    evaluation = get_eval(plugin(f"def score(reply, example):\n    {code}\n"))
    judging = evaluation.judge(DATA, EXAMPLES)
    next(judging)
    with pytest.raises(UserError, match=message):
        judging.send(["a", "b"])


def test_a_judge_that_yields_nothing_is_no_judge(plugin):
    code = "from swarm.evals.eval import Eval\nclass score(Eval):\n  def judge(self, d, e): return {}\n"
    with pytest.raises(UserError, match="judge is no generator"):
        next(get_eval(plugin(code)).judge(DATA, EXAMPLES))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    if not e: yield []\n    return {}", "judge has asked nothing"),
        (
            "    yield [x.question for x in e]\n    return {'brief': [1, 1]}",
            "returned the scores brief, but declares strict",
        ),
    ],
)
def test_a_judge_that_asks_or_returns_other_than_it_says(plugin, body, message):
    code = f"from swarm.evals.eval import Eval\nclass score(Eval):\n  def judge(self, d, e):\n{body}\n"
    judging = get_eval(plugin(code)).judge(DATA, EXAMPLES)
    with pytest.raises(UserError, match=message):
        next(judging)
        judging.send(["a", "b"])


def test_the_code_is_known_by_its_content(plugin):
    code = "def score(reply, example):\n    return 1.0\n"
    first = get_eval(plugin(code)).code
    assert get_eval(plugin(code)).code == first and len(first) == 64
    assert get_eval(plugin(code + "# more\n")).code != first


def test_two_files_of_one_name_do_not_mix(plugin, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "my_eval.py").write_text("def score(reply, example): return 0.0\n")
    one = get_eval(plugin("def score(reply, example): return 1.0\n"))
    other = get_eval(f"{tmp_path}/b/my_eval.py:score")
    assert scores_of(one, ["", ""])[1]["strict"].tolist() == [1, 1]
    assert scores_of(other, ["", ""])[1]["strict"].tolist() == [0, 0]


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(UserError, match="exact_match, multiple_choice, abstainqa.*path/to/file.py:name"):
        get_eval("bleu")


def test_scores_become_arrays(plugin):
    _, scores = scores_of(get_eval(plugin("def score(reply, example): return 1")), ["", ""])
    assert isinstance(scores["strict"], np.ndarray) and scores["strict"].dtype == float


JUDGED = """
from swarm.evals.eval import Eval
class score(Eval):
    judge_calls = 1
    def __init__(self, judge):
        self.asked = judge
    def judge(self, dataset, examples):
        replies = yield [e.question for e in examples]
        questions = [f"Good? {reply}" for reply in replies]
        return {"strict": self.asked.ask(questions, lambda text: float(text == "yes"), "yes or no")}
"""


def test_a_class_may_take_a_judge_whose_work_is_counted(plugin):
    from swarm.engines.scripted import ScriptedEngine
    from swarm.evals.judges.judge import Judge
    from swarm.evals.judges.local_judge import LocalClient
    from swarm.weights.pool import Expert

    def say(request):
        return "yes" if "fine" in request.prompt else "no"

    client = LocalClient("me", lambda: (ScriptedEngine(say), Expert("judge", (1.0,), "digest")))
    evaluation = get_eval(plugin(JUDGED), lambda: Judge(client))
    seen = []
    evaluation.watch_judge(lambda usage: seen.append(usage.calls))
    assert scores_of(evaluation, ["fine", "bad"])[1]["strict"].tolist() == [1, 0]
    assert evaluation.judge_usage.calls == 2 and evaluation.judge_calls == 1 and max(seen) == 2
    with pytest.raises(UserError, match="takes a judge: say how often"):
        get_eval(plugin(JUDGED.replace("judge_calls = 1", "pass")), lambda: Judge(client))


def test_stand_ins_for_later_queries_may_be_texts(plugin):
    code = CLASS.replace(
        "    def judge", "    def later_queries(self, d, e): return [['Again' for _ in e]]\n    def judge"
    )
    later = get_eval(plugin(code, "Twice")).later_queries(DATA, EXAMPLES)
    assert [[query.text for query in queries] for queries in later] == [["Again", "Again"]]
