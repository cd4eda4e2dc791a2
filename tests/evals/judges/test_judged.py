"""Guards gemini_match: what the system and the judge are asked, and how a rating is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_server import MODEL, JudgeServer, judging
from tiny import make_pool

from swarm.data.example import Dataset, Example
from swarm.engines.base import GenerationParams
from swarm.engines.local.transformers_engine import InProcessEngine
from swarm.engines.scripted import ScriptedEngine
from swarm.errors import BudgetReached
from swarm.evals.judged import GeminiMatch, judge_prompt, read_rating
from swarm.evals.judges.budget import NO_WORK, JudgeLimits, Meter
from swarm.evals.judges.judge import Judge
from swarm.evals.judges.local_judge import LocalClient
from swarm.evals.judges.openai_server import OpenAIClient
from swarm.weights.pool import Expert, read_pool

JUDGE = Expert("judge", (1.0,), "digest of the judge")
EXAMPLES = (Example("Who?", "Claus", chunks=("c0", "c1")), Example("Where?", "at home"))
DATASET = Dataset("ltp", EXAMPLES, EXAMPLES, prefix="Guess.")

RATINGS = [
    ("Rating: 8/10", 8),
    ("Rating: 8/10 The response names 3 of 4 causes.", 8),
    ("**Rating:** 8 / 10", 8),
    ("**Rating: 8/10**\n\nReason: 9/10 of it fits", 8),
    ("Rating: **10**/10", 10),
    ("rating: [7/10]", 7),
    ("Rating (1-10): 6", 6),
    ("Rating: 8", 8),
    ("Rating: 8.", 8),
    ("Rating: 8 out of 10", 8),
    ("Rating = 4/10", 4),
    ("My rating is 4/10.", 4),
    ("Sure! Rating: 2/10", 2),
    ("8/10", 8),
    ("8/10. The rating is high because 9", 8),
    (" **8 / 10** because", 8),
    ("7", 7),
    ("**7**.", 7),
    ("Rating: 8.5/10", 8),
    ("Rating: 9.9", 9),
    ("٨/10", 8),
    ("<think>A rating: 3/10? No.</think>\nRating: 9/10", 9),
    ("Rating: 80/100", 8),
    ("Rating: 4/5", 8),
    ("Rating: 80%", 8),
]
NO_RATINGS = [
    "",
    "The response is right.",
    "The response says that 8/10 people agree.",
    "8 of 10 points fit",
    "3 points are missing",
    "Rating: ?/10",
    "Rating: high. It names 8 of 10 causes, 8/10",
    "Rating:",
    "Rating: 0/10",
    "Rating: 0.5/10",
    "Rating: 11/10",
    "Rating: 8/100",
    "Rating: 8/5",
    "Rating: 7-8/10",
    "Rating: 7 to 8",
    "Rating: 8%",
    "Rating: 1,000",
    "Rating: -3/10",
    "The rating of the film is 8/10",
    "<think>Rating: 9/10",
]


@pytest.mark.parametrize(("text", "rating"), RATINGS)
def test_a_rating_is_read(text, rating):
    assert read_rating(text) == rating


@pytest.mark.parametrize("text", NO_RATINGS)
def test_no_other_number_is_taken_for_a_rating(text):
    assert read_rating(text) is None


PIECES = st.lists(st.sampled_from(["Rating", ": ", "8", "/", "10", "**", ".", " ", "\n", "out of", "<think>", "0"]))


@given(st.text() | PIECES.map("".join))
def test_any_text_is_read(text):
    assert read_rating(text) in (None, *range(1, 11))


@given(st.integers(1, 10), st.text(st.characters(blacklist_categories=("N",)), max_size=40))
def test_what_was_asked_for_is_read_whatever_the_reason(rating, reason):
    assert read_rating(f"Rating: {rating}/10 {reason}") == rating


def judgement_of(judge, replies):
    judging_ = GeminiMatch(judge).judge(DATASET, EXAMPLES)
    queries = next(judging_)
    with pytest.raises(StopIteration) as done:
        judging_.send(replies)
    return queries, {name: scores.tolist() for name, scores in done.value.value.items()}


def test_replies_are_rated_against_the_right_answer():
    def answer(prompt):
        assert prompt.endswith(("Ground truth: Claus\nGenerated response: It is Claus.", "response: no idea"))
        return "Rating: 9/10 It names him." if "It is Claus." in prompt else "**Rating:** 1/10"

    with judging(JudgeServer(answer=answer)) as server:
        judge = Judge(OpenAIClient(f"{server.url}/v1", MODEL))
        queries, scores = judgement_of(judge, ["It is Claus.", "no idea"])
    assert [(query.text, query.chunks) for query in queries] == [("Guess.\nWho?", ("c0", "c1")), ("Guess.\nWhere?", ())]
    assert scores == {"strict": [9.0, 1.0], "compat": [9.0, 1.0]}


def test_the_judge_is_asked_in_the_published_words():
    prompt = judge_prompt("the truth", "a reply")
    assert 'Please respond with "Rating: ?/10" first and then provide your reason' in prompt
    assert prompt.endswith("Ground truth: the truth\nGenerated response: a reply")


@pytest.mark.parametrize(
    ("generation", "expected"),
    [({}, GenerationParams(200, chat=True)), ({"max_new_tokens": 9, "chat": False}, GenerationParams(9))],
)
def test_params_are_the_published_ones_unless_the_file_says_more(generation, expected):
    evaluation = GeminiMatch(Judge(LocalClient("me", lambda: (ScriptedEngine(str), JUDGE))))
    assert evaluation.params(Dataset("qasper", (), (), generation=generation)) == expected
    assert evaluation.ballot("some text", EXAMPLES[0]) is None
    assert (evaluation.lowest, evaluation.highest, evaluation.judge_calls) == (1, 10, 1)


def test_a_local_judge_is_asked_all_at_once_and_asked_again_strictly():
    batches = []

    class Noting(ScriptedEngine):
        def generate(self, requests):
            batches.append(list(requests))
            yield from reversed(list(super().generate(requests)))

    def answer(request):
        return "Rating: 7/10" if "Claus" in request.prompt or "nothing else" in request.prompt else "hm"

    judge = Judge(LocalClient("me", lambda: (Noting(answer), JUDGE)))
    assert judgement_of(judge, ["a", "b"])[1]["strict"] == [7.0, 7.0]
    assert [len(batch) for batch in batches] == [2, 1]
    assert {request.params for batch in batches for request in batch} == {GenerationParams(20, chat=True)}
    assert judge.usage.calls == 3


def test_a_local_judge_keeps_to_the_limit_of_calls():
    asked = []
    engine = ScriptedEngine(lambda request: asked.append(request.prompt) or "5")
    judge = Judge(LocalClient("me", lambda: (engine, JUDGE)), limits=JudgeLimits(calls=2))
    with pytest.raises(BudgetReached, match="--max_judge_calls 2 reached"):
        judge.ask(["a", "b", "c"], read_rating, "")
    assert asked == ["a", "b"]


def test_a_local_judge_is_known_by_its_weights_not_by_its_name():
    engine = ScriptedEngine(str)
    facts = LocalClient("me", lambda: (engine, JUDGE)).facts()
    assert facts == LocalClient("you", lambda: (engine, JUDGE)).facts()
    assert facts != LocalClient("me", lambda: (engine, Expert("judge", (1.0,), "other"))).facts()
    assert facts != LocalClient("me", lambda: (engine, JUDGE), max_new_tokens=21).facts()
    assert facts != LocalClient("me", lambda: (ScriptedEngine(str, "other engine"), JUDGE)).facts()


def test_a_real_model_answers_as_the_judge(tmp_path):
    pool = read_pool(make_pool(tmp_path, count=2))
    client = LocalClient("tiny", lambda: (InProcessEngine(pool, "cpu"), pool.experts()[0]), max_new_tokens=3)
    client.check()
    gate = Meter(JudgeLimits(), None, NO_WORK, 3)
    replies = dict(client.ask(["what is red", "what"], gate))
    assert sorted(replies) == [0, 1]
    assert all(reply.new_tokens <= 3 for reply in replies.values())
    assert gate.usage.prompt_tokens == sum(reply.prompt_tokens for reply in replies.values()) > 0
