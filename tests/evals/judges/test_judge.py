"""Guards how a judge is asked: once each, kept at once, asked again where unreadable, never beyond a limit."""

import signal
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_server import MODEL, Fault, JudgeServer, judging

from swarm.errors import BudgetReached, UserError
from swarm.evals.judges.budget import NO_WORK, JudgeLimits, JudgeUsage, Meter, Price
from swarm.evals.judges.client import Reply
from swarm.evals.judges.concurrent_calls import Patience
from swarm.evals.judges.judge import Judge
from swarm.evals.judges.openai_server import OpenAIClient
from swarm.evals.judges.refusals import is_refused
from swarm.evals.judges.reply_cache import ReplyCache

QUICK = Patience(attempts=3, first_wait=0.01)
STRICTER = "Only a number."


def read_number(text):
    return int(text) if text.isdecimal() else None


def length(prompt):
    """The number of letters in a question's first line."""
    return str(len(prompt.splitlines()[0]))


def make_judge(server, at_once=4, **settings):
    client = OpenAIClient(f"{server.url}/v1", MODEL, at_once=at_once, timeout=5.0, patience=QUICK)
    return Judge(client, **settings)


@pytest.fixture
def cache(tmp_path):
    return ReplyCache(tmp_path / "judge.sqlite")


def test_equal_questions_are_asked_once_and_answers_keep_their_order():
    # the first ones take longest
    slow = lambda prompt, before: Fault(seconds=0.1 / len(prompt))  # noqa: E731
    with judging(JudgeServer(answer=length, fault=slow)) as server:
        judge = make_judge(server)
        questions = ["a", "bb", "a", "ccc", "bb", "dddd"]
        assert judge.ask(questions, read_number, STRICTER) == [1, 2, 1, 3, 2, 4]
        assert judge.ask([], read_number, STRICTER) == []
    assert sorted(server.prompts) == ["a", "bb", "ccc", "dddd"]
    assert judge.usage == JudgeUsage(calls=4, prompt_tokens=4, new_tokens=4, cost=0.0)


def test_what_is_in_the_cache_is_not_asked(cache):
    with judging(JudgeServer(answer=length)) as server:
        make_judge(server, cache=cache).ask(["a", "bb"], read_number, STRICTER)
        judge = make_judge(server, cache=cache)
        assert judge.ask(["bb", "ccc", "a"], read_number, STRICTER) == [2, 3, 1]
        assert judge.usage.calls == 1
        make_judge(server, cache=cache).ask(["ccc", "bb"], read_number, STRICTER)
    assert len(server.prompts) == 3


def test_an_unreadable_reply_is_asked_for_once_more_and_strictly(cache):
    answer = lambda prompt: length(prompt) if prompt.endswith(STRICTER) or prompt == "a" else "well ..."  # noqa: E731
    with judging(JudgeServer(answer=answer)) as server:
        for _ in range(2):  # the second time out of the cache
            assert make_judge(server, cache=cache).ask(["a", "bb"], read_number, STRICTER) == [1, 2]
    assert sorted(server.prompts) == ["a", "bb", f"bb\n\n{STRICTER}"]


def test_a_reply_that_stays_unreadable_ends_it_with_its_place_and_its_text(cache):
    answer = lambda prompt: length(prompt) if prompt[0] == "a" else "That is\nhard to " + "say " * 40  # noqa: E731
    with judging(JudgeServer(answer=answer)) as server:
        judge = make_judge(server, cache=cache)
        with pytest.raises(UserError, match="at .* question 1, .*'That is hard to say .*finish reason stop"):
            judge.ask(["a", "bb", "bb"], read_number, STRICTER)
        assert cache.get(judge.client.facts(), "a") == Reply("1", 1, 1, "stop")
        assert cache.get(judge.client.facts(), "bb") is None
    assert len(server.prompts) == 3


def test_after_an_error_the_calls_in_flight_are_kept_and_no_new_ones_start(cache):
    fault = lambda prompt, before: Fault(400, seconds=0.1) if prompt == "bad" else Fault(seconds=1.0)  # noqa: E731
    with judging(JudgeServer(answer=length, fault=fault)) as server:
        judge = make_judge(server, at_once=3, cache=cache)
        with pytest.raises(UserError, match="HTTP 400"):
            judge.ask(["a", "bad", "ccc", "dddd", "eeeee"], read_number, STRICTER)
        facts = judge.client.facts()
    assert sorted(server.prompts) == ["a", "bad", "ccc"]
    assert cache.get(facts, "a") and cache.get(facts, "ccc")
    assert judge.usage.calls == 3


def test_the_limit_of_calls_is_never_exceeded_and_what_was_paid_for_is_kept(cache):
    questions = ["a" * size for size in range(1, 11)]
    with judging(JudgeServer(answer=length)) as server:
        with pytest.raises(BudgetReached, match="--max_judge_calls 7 reached"):
            make_judge(server, cache=cache, limits=JudgeLimits(calls=7)).ask(questions, read_number, STRICTER)
        assert len(server.prompts) == 7
        judge = make_judge(server, cache=cache, limits=JudgeLimits(calls=10), usage=JudgeUsage(calls=7))
        assert judge.ask(questions, read_number, STRICTER) == list(range(1, 11))
        assert len(server.prompts) == judge.usage.calls == 10
        with pytest.raises(BudgetReached):
            judge.ask(["new"], read_number, STRICTER)
        assert judge.ask(questions, read_number, STRICTER) == list(range(1, 11))  # the cache is free


def test_a_limit_that_is_not_the_judge_s_own_lets_no_further_call_through(cache):
    """The search's time: what is in flight is waited for and kept, and the reason is that limit's."""
    with judging(JudgeServer(answer=length)) as server:
        judge = make_judge(server, at_once=1, cache=cache)
        judge.watch(lambda usage: None, lambda: "--max_time 1 reached" if judge.usage.calls >= 2 else "")
        with pytest.raises(BudgetReached, match="--max_time 1 reached"):
            judge.ask(["a", "bb", "ccc", "dddd"], read_number, STRICTER)
        assert server.prompts == ["a", "bb"]
        assert make_judge(server, cache=cache).ask(["a", "bb"], read_number, STRICTER) == [1, 2]
    assert server.prompts == ["a", "bb"], "what came was kept"


def test_the_limit_of_cost_waits_for_calls_in_flight_whose_cost_is_not_yet_known():
    price = Price(read=1e6, written=1e6)  # 1 per token
    questions = [f"{letter} " * 5 for letter in "abcdefgh"]  # 5 tokens read and 1 written: 6 each
    with judging(JudgeServer(answer=lambda prompt: "1", fault=lambda *_: Fault(seconds=0.02))) as server:
        # a call in flight counts as 25 or so: its 20 new tokens at most
        judge = make_judge(server, limits=JudgeLimits(cost=60), price=price)
        with pytest.raises(BudgetReached, match="--max_cost 60 reached"):
            judge.ask(questions, read_number, STRICTER)
    assert judge.usage.cost == 6 * len(server.prompts)
    assert len(server.prompts) == 6  # after 36, the next might cost 25
    assert server.most_in_flight <= 2


def test_a_limit_of_cost_needs_a_price():
    with judging(JudgeServer()) as server, pytest.raises(UserError, match="--max_cost is 5 .*price"):
        make_judge(server, limits=JudgeLimits(cost=5))


@given(
    prompts=st.lists(st.text(min_size=1, max_size=30), max_size=30),
    calls=st.none() | st.integers(0, 20),
    cost=st.none() | st.floats(0, 100),
    fates=st.lists(st.sampled_from(["reply", "no usage", "lost", "refused", "in flight"]), min_size=30, max_size=30),
)
def test_no_order_of_events_exceeds_a_limit(prompts, calls, cost, fates):
    meter = Meter(JudgeLimits(calls, cost), Price(1e6, 1e6), NO_WORK, max_new_tokens=3)
    admitted, in_flight = 0, []
    for prompt, fate in zip(prompts, fates, strict=False):
        ticket = meter.admit(prompt)
        if ticket is None:
            assert str(meter.reached()).startswith("--max_")
            with pytest.raises(BudgetReached):
                meter.readmit(prompt)
            continue
        admitted += 1
        if fate == "in flight":
            in_flight.append(ticket)
        elif fate in ("reply", "no usage"):
            read = len(prompt.encode()) // 3 if fate == "reply" else 0
            meter.settle(ticket, Reply("x", read, 3 if read else 0))
        else:
            meter.settle_lost(ticket, perhaps_billed=fate == "lost")
    for ticket in in_flight:
        meter.settle_lost(ticket, perhaps_billed=True)
    assert meter.usage.calls == admitted
    assert calls is None or admitted <= calls
    assert cost is None or meter.usage.cost <= cost + 1e-9


def test_a_judge_that_reports_more_tokens_than_estimated_is_estimated_higher():
    meter = Meter(JudgeLimits(), Price(1e6, 0.0), NO_WORK, 20)
    first = meter.admit("x" * 30)
    assert first.cost == pytest.approx(10)
    meter.settle(first, Reply("", 60, 1))
    assert meter.admit("x" * 30).cost == pytest.approx(60)


INTERRUPTED = """
import sys
from swarm.evals.judges.judge import Judge
from swarm.evals.judges.openai_server import OpenAIClient
from swarm.evals.judges.refusals import is_refused
judge = Judge(OpenAIClient(sys.argv[1], "judge-model", at_once=2, timeout=600.0))
try:
    judge.ask([str(i) for i in range(9)], int, "")
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_an_interruption_waits_for_no_reply(programs, tmp_path):
    both_in, over, replied = threading.Event(), threading.Event(), []

    def never(prompt):
        if len(server.prompts) == 2:
            both_in.set()
        if not over.wait(60):
            replied.append(prompt)
        return "1"

    with judging(JudgeServer(answer=never)) as server:
        program = programs.start_python("-c", INTERRUPTED, f"{server.url}/v1", cwd=tmp_path)
        assert both_in.wait(60)
        program.kill(signal.SIGINT)
        assert program.wait()[0] == 130 and not replied  # while the server still holds both replies
        assert len(server.prompts) == 2
        over.set()


REFUSALS = [
    ("I'm sorry, but I can't help with that.", ""),
    ("As an AI, I cannot rate this response.", ""),
    ("Sorry, I am unable to rate that.", ""),
    ("I must decline.", ""),
    ("", "SAFETY"),
    ("", "content_filter"),
    ("I can not assess this text. It may be harmful.", "stop"),
]
NO_REFUSALS = [
    ("well ...", "stop"),
    ("", "length"),
    ("", "MAX_TOKENS"),
    ("3 or 4", "stop"),
    ("It can not be told.", "stop"),
]


@pytest.mark.parametrize(("text", "finish"), REFUSALS)
def test_a_refusal_is_told_from_a_reply_that_nobody_can_read(text, finish):
    assert is_refused(Reply(text, 1, 1, finish))


@pytest.mark.parametrize(("text", "finish"), NO_REFUSALS)
def test_what_is_cut_or_muddled_is_no_refusal(text, finish):
    assert not is_refused(Reply(text, 1, 1, finish))


def refuses_b(prompt):
    return "I'm sorry, I can't do that." if prompt.startswith("bb") else length(prompt)


@pytest.mark.parametrize("policy", ["skip", "lowest"])
def test_a_refused_question_has_no_answer_and_is_refused_for_good(cache, policy):
    with judging(JudgeServer(answer=refuses_b)) as server:
        for _ in range(2):  # the second time out of the cache
            judge = make_judge(server, cache=cache, on_refusal=policy)
            assert judge.ask(["a", "bb", "ccc", "bb"], read_number, STRICTER) == [1, None, 3, None]
            assert judge.refused == {"bb"}
        assert sorted(server.prompts) == ["a", "bb", f"bb\n\n{STRICTER}", "ccc"]
        with pytest.raises(UserError, match="refuses to answer question 1 .*--judge_refusal skip"):
            make_judge(server, cache=cache).ask(["a", "bb"], read_number, STRICTER)


def test_a_server_that_filters_a_question_refuses_it_and_goes_on_with_the_others():
    body = '{"error": {"message": "The response was filtered", "code": "content_filter"}}'
    fault = lambda prompt, before: Fault(400, body=body) if prompt.startswith("bb") else None  # noqa: E731
    with judging(JudgeServer(answer=length, fault=fault)) as server:
        assert make_judge(server, on_refusal="skip").ask(["a", "bb"], read_number, STRICTER) == [1, None]
        with pytest.raises(UserError, match="refuses to answer question 0 .*--judge_refusal skip"):
            make_judge(server).ask(["bb"], read_number, STRICTER)


def test_a_muddled_reply_ends_it_whatever_the_policy():
    muddled = JudgeServer(answer=lambda prompt: "well ...")
    with judging(muddled) as server, pytest.raises(UserError, match="no answer can be read"):
        make_judge(server, on_refusal="skip").ask(["a"], read_number, STRICTER)
