"""Guards the remote clients against a real server on loopback, well-behaved and not."""

import json
import sys
import threading
import warnings

import pytest
import tenacity
from judge_server import MODEL, Fault, JudgeServer, judging

from swarm.errors import BudgetReached, UserError
from swarm.evals.judges import bounded_http
from swarm.evals.judges.budget import NO_WORK, JudgeLimits, Meter
from swarm.evals.judges.client import TransportError
from swarm.evals.judges.concurrent_calls import Patience, asked_wait
from swarm.evals.judges.gemini import GeminiClient
from swarm.evals.judges.openai_server import OpenAIClient

KEY = "AIza-very-secret"
KEYS = ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")
QUICK = Patience(first_wait=0.01)
KINDS = ("openai", "google-genai", "google-generativeai")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Keys as the user sets them, and nothing else that a client's library would look at."""
    for name in ("OPENAI_BASE_URL", "GOOGLE_GENAI_USE_VERTEXAI", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in KEYS:
        monkeypatch.setenv(name, KEY)


@pytest.fixture(params=KINDS)
def client_of(request, monkeypatch):
    """Makes a client of each kind for a server."""

    def make(server, model=MODEL, **settings):
        settings = {"timeout": 5.0, "patience": QUICK} | settings
        if request.param == "openai":
            return OpenAIClient(f"{server.url}/v1", model, **settings)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
        if request.param == "google-generativeai":
            monkeypatch.setitem(sys.modules, "google.genai", None)  # as if it were not installed
        return GeminiClient(model, **settings)

    make.kind = request.param
    return make


def meter(**limits):
    return Meter(JudgeLimits(**limits), None, NO_WORK, 20)


def asked(client, prompts, gate=None):
    return dict(client.ask(prompts, gate or meter()))


def test_replies_come_with_their_tokens(client_of):
    with judging(JudgeServer(answer=str.upper, key=KEY)) as server:
        client = client_of(server)
        client.check()
        replies = asked(client, ["what is it", "no", "Frühling"])
    assert {index: reply.text for index, reply in replies.items()} == {0: "WHAT IS IT", 1: "NO", 2: "FRÜHLING"}
    assert (replies[0].prompt_tokens, replies[0].new_tokens) == (3, 3)
    assert client.facts() == client_of(server).facts()
    assert KEY not in str(client.facts())


def test_the_question_is_sent_at_temperature_0_with_few_tokens_and_without_filters(client_of):
    with judging(JudgeServer()) as server:
        asked(client_of(server, max_new_tokens=7), ["q"])
    body = server.requests[-1][2]
    if client_of.kind == "openai":
        assert (body["temperature"], body["max_tokens"]) == (0, 7)
        assert body["messages"] == [{"role": "user", "content": "q"}]
    else:
        assert body["generationConfig"] == {"temperature": 0, "maxOutputTokens": 7}
        assert len(body["safetySettings"]) == 4
        # google-generativeai sends the number of BLOCK_NONE
        assert {setting["threshold"] for setting in body["safetySettings"]} <= {"BLOCK_NONE", 4}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(429),
        Fault(503),
        Fault(408),
        Fault(cut=True),
        Fault(cut=True, body='{"choices": ['),
        Fault(body="<html>busy</html>"),
        Fault(body='{"a": 1}'),
        Fault(body="[1]"),
        Fault(body="null"),
    ],
    ids=lambda fault: f"{fault.status or ''}{'cut' if fault.cut else ''}{fault.body or ''}",
)
def test_what_fails_in_passing_is_asked_again(client_of, fault):
    with judging(JudgeServer(fault=lambda prompt, before: fault if before < 2 else None)) as server:
        gate = meter()
        assert asked(client_of(server), ["q"], gate)[0].text == "Rating: 5/10"
    assert len(server.prompts) == gate.usage.calls == 3


def test_a_server_that_does_not_answer_in_time_is_asked_again(client_of):
    with judging(JudgeServer(fault=lambda prompt, before: None if before else Fault(seconds=0.5))) as server:
        assert len(asked(client_of(server, timeout=0.3), ["q"])) == 1
    assert len(server.prompts) > 1


def test_after_the_last_attempt_the_user_is_told(client_of):
    with judging(JudgeServer(fault=lambda prompt, before: Fault(503))) as server:
        client = client_of(server, patience=Patience(attempts=3, first_wait=0.01))
        with pytest.raises(UserError, match="HTTP 503 .*after 3 attempts") as told:
            asked(client, ["q"])
    assert len(server.prompts) == 3
    assert KEY not in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(429, headers={"Retry-After": "7"}),
        Fault(429, details=({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"},)),
    ],
    ids=["header", "body"],
)
def test_a_server_says_how_long_to_wait(client_of, fault):
    waits = []

    class Noting(Patience):
        def wait(self, state):
            waits.append(state.outcome.exception().retry_after)
            return 0.0

    with judging(JudgeServer(fault=lambda prompt, before: None if before else fault)) as server:
        asked(client_of(server, patience=Noting()), ["q"])
    # the second form is Google's own
    assert waits == [None if client_of.kind == "openai" and fault.details else 7.0]


@pytest.mark.parametrize(("status", "said"), [(400, "HTTP 400"), (401, "KEY"), (403, "KEY"), (404, "--judge_model")])
def test_other_errors_are_told_at_once_and_without_the_key(client_of, status, said):
    with (
        judging(JudgeServer(fault=lambda prompt, before: Fault(status))) as server,
        pytest.raises(UserError, match=said) as told,
    ):
        asked(client_of(server), ["q"])
    # google-auth, below google-generativeai, does not take the first 401 for an answer
    assert len(server.prompts) == (3 if (client_of.kind, status) == ("google-generativeai", 401) else 1)
    assert KEY not in str(told.value) and "\n" not in str(told.value)


def test_a_wrong_key_is_found_before_anything_is_asked(client_of):
    with (
        judging(JudgeServer(key="another")) as server,
        pytest.raises(UserError, match="refuses the key in (OPENAI|GEMINI)_API_KEY") as told,
    ):
        client_of(server).check()
    assert KEY not in str(told.value)


def test_a_missing_key_is_named(client_of, monkeypatch):
    for name in KEYS:
        monkeypatch.delenv(name)
    with (
        judging(JudgeServer(key="another")) as server,
        pytest.raises(UserError, match="OPENAI_API_KEY is not set|set GEMINI_API_KEY or GOOGLE_API_KEY"),
    ):
        client_of(server).check()


def test_a_key_that_no_header_can_bear_is_named(client_of, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "“sk-1”")
    monkeypatch.setenv("GEMINI_API_KEY", "“AIza”")
    with judging(JudgeServer()) as server, pytest.raises(UserError, match="_API_KEY holds characters"):
        client_of(server).check()


def test_an_unknown_model_is_found_before_anything_is_asked(client_of):
    with (
        judging(JudgeServer()) as server,
        pytest.raises(UserError, match="model no-such"),
    ):
        client_of(server, "no-such").check()
    assert not server.prompts


def test_an_unreachable_server_is_found_before_anything_is_asked(client_of):
    with judging(JudgeServer()) as server:
        pass
    with pytest.raises(UserError, match="cannot be reached"):
        client_of(server).check()


@pytest.mark.parametrize("finish", ["SAFETY", "MAX_TOKENS", "PROHIBITED_CONTENT"])
def test_a_blocked_reply_is_empty_and_says_why(client_of, finish):
    with judging(JudgeServer(fault=lambda prompt, before: Fault(finish=finish))) as server:
        (reply,) = asked(client_of(server), ["q"]).values()
    assert (reply.text, reply.finish) == ("", finish)


def test_calls_run_at_the_same_time_but_not_more_than_allowed(client_of):
    three = threading.Barrier(3)  # nobody is answered before three are there
    with judging(JudgeServer(answer=lambda prompt: str(three.wait(30)))) as server:
        assert len(asked(client_of(server, at_once=3, timeout=60.0), [f"q{i}" for i in range(9)])) == 9
    assert server.most_in_flight == 3


def test_no_warning_of_a_library_reaches_the_user(client_of, capfd):
    with judging(JudgeServer()) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        client_of(server).check()
    assert capfd.readouterr() == ("", "")


def test_attempts_count_against_the_limit_of_calls(client_of):
    with (
        judging(JudgeServer(fault=lambda prompt, before: Fault(503))) as server,
        pytest.raises(BudgetReached, match="--max_judge_calls 2 reached"),
    ):
        asked(client_of(server), ["q"], meter(calls=2))
    assert len(server.prompts) == 2


def test_a_server_need_not_list_its_models_nor_want_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with judging(JudgeServer(listing=False)) as server:
        client = OpenAIClient(f"{server.url}/v1/", MODEL)
        client.check()
        assert len(asked(client, ["q"])) == 1


def test_names_that_servers_list_in_full_may_be_given_short():
    with judging(JudgeServer(models=("models/gemini-x", "llama3:latest"))) as server:
        for name in ("gemini-x", "llama3", "llama3:latest"):
            OpenAIClient(f"{server.url}/v1", name).check()


@pytest.mark.parametrize("listing", ["<html>", "[1]", '{"data": "no"}'])
def test_a_listing_that_is_none_is_told_or_passed_over(listing):
    with judging(JudgeServer(listing=listing)) as server:
        client = OpenAIClient(f"{server.url}/v1", MODEL)
        if listing == "<html>":
            with pytest.raises(UserError, match="cannot be read"):
                client.check()
        else:
            client.check()


def test_an_address_that_stops_too_early_is_completed_in_words():
    with judging(JudgeServer()) as server, pytest.raises(UserError, match=f"the server's is at {server.url}/v1"):
        OpenAIClient(server.url, MODEL).check()


@pytest.mark.parametrize("url", ["localhost:8000/v1", "", "ftp://x/v1", "http://"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UserError, match="--judge_url is "):
        OpenAIClient(url, MODEL)


def test_secrets_in_an_address_are_shown_nowhere():
    client = OpenAIClient("http://user:secret@127.0.0.1:9/v1?token=secret", MODEL, patience=QUICK)
    with pytest.raises(UserError, match="cannot be reached") as told:
        client.check()
    assert "secret" not in f"{told.value} {client.facts()} {client.name}"


@pytest.mark.parametrize(
    ("missing", "make", "cure"),
    [
        ("openai", lambda: OpenAIClient("http://127.0.0.1:9/v1", MODEL), r"pip install openai tenacity"),
        ("tenacity", lambda: OpenAIClient("http://127.0.0.1:9/v1", MODEL), r"pip install openai tenacity"),
        ("google.genai google.generativeai", lambda: GeminiClient(MODEL), r"pip install google-genai tenacity"),
    ],
)
def test_a_library_that_is_not_installed_is_named_with_the_command_that_brings_it(monkeypatch, missing, make, cure):
    for name in missing.split():
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=cure):
        make().check()


@pytest.mark.parametrize(
    ("retry_after", "attempt", "least", "most"),
    [(None, 1, 2, 4), (None, 3, 8, 10), (None, 9, 30, 30), (5.0, 1, 5, 7), (1e9, 1, 90, 92), (0.0, 5, 0, 2)],
)
def test_waits_grow_and_what_a_server_asks_for_is_bounded(retry_after, attempt, least, most):
    patience = Patience(first_wait=2.0, longest_wait=30.0, longest_asked_wait=90.0)
    state = tenacity.RetryCallState(None, None, (), {})
    state.attempt_number = attempt
    state.set_exception((TransportError, TransportError("busy", retry_after), None))
    assert least <= patience.wait(state) <= most


def test_retry_after_may_be_a_date():
    assert asked_wait({"retry-after": "3"}) == 3.0
    assert asked_wait({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}) == 0.0
    assert asked_wait({"Retry-After": "Fri, 31 Dec 2199 23:59:59 GMT"}) > 1e9
    assert asked_wait({"Retry-After": "soon"}) is None
    assert asked_wait({}) is None


def openai_client(server, **settings):
    return OpenAIClient(f"{server.url}/v1", MODEL, **({"timeout": 5.0, "patience": QUICK} | settings))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_the_texts_stay_here(client_of, status):
    with judging(JudgeServer()) as other:
        away = Fault(status=status, headers={"Location": f"{other.url}/v1/chat/completions"})
        cure = "give that address" if client_of.kind == "openai" else "see what GOOGLE_GEMINI_BASE_URL names"
        with (
            judging(JudgeServer(fault=lambda prompt, before: away)) as server,
            pytest.raises(UserError, match=rf"redirects to another address.*{cure}"),
        ):
            asked(client_of(server), ["a secret text"])
    assert not other.requests


def test_a_reply_without_end_is_not_read_to_its_end(client_of, monkeypatch):
    if client_of.kind == "google-generativeai":
        pytest.skip("google-generativeai reads what comes")
    monkeypatch.setattr(bounded_http, "MOST_BYTES", 1000)
    endless = Fault(body="[" + "1," * 1000 + "1]")
    with judging(JudgeServer(fault=lambda prompt, before: endless)) as server, pytest.raises(UserError, match="MB"):
        asked(client_of(server), ["q"])


@pytest.mark.parametrize(
    ("refused", "said", "wanted"),
    [
        (
            "max_tokens",
            "Unsupported parameter: use max_completion_tokens instead of max_tokens",
            {"max_completion_tokens": 20},
        ),
        ("temperature", "Unsupported value: temperature does not support 0", {"max_tokens": 20}),
    ],
)
def test_a_parameter_that_a_server_refuses_is_left_out_and_that_is_said(refused, said, wanted, caplog):
    caplog.set_level("INFO")

    def fault(prompt, before):
        return Fault(status=400, body=said) if refused in server.requests[-1][2] else None

    with judging(JudgeServer(fault=fault)) as server:
        replies = asked(openai_client(server, at_once=1), ["a", "b"])
        assert len(replies) == 2 and len(server.requests) == 3, "tried once, then done without"
        body = server.requests[-1][2]
        assert refused not in body and {name: body[name] for name in wanted} == wanted
    assert f"judge {MODEL} at {server.url}/v1 takes" in caplog.text


PARTS = [{"type": "text", "text": "Rating: "}, {"type": "text", "text": "7/10"}]


def completion(content, **usage):
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}], "usage": usage})


@pytest.mark.parametrize(
    ("body", "text", "tokens"),
    [
        (
            completion(PARTS, prompt_tokens=3),
            "Rating: 7/10",
            3,
        ),
        (completion([{"type": "reasoning", "text": "Hm, 2/10?"}, {"type": "text", "text": "7/10"}]), "7/10", 0),
        (completion("7/10", prompt_tokens=10**40), "7/10", 0),
        (completion("7/10", prompt_tokens=-5), "7/10", 0),
        (completion("7/10", prompt_tokens="many"), "7/10", 0),
        (completion("7/10").replace('"usage": {}', '"usage": {"prompt_tokens": NaN}'), "7/10", 0),
        (completion(None), "", 0),
    ],
)
def test_replies_in_parts_and_counts_that_cannot_be(body, text, tokens):
    with judging(JudgeServer(fault=lambda prompt, before: Fault(body=body))) as server:
        reply = asked(openai_client(server), ["q"])[0]
    assert (reply.text, reply.prompt_tokens) == (text, tokens)


def test_a_compressed_reply_is_not_unpacked():
    squeezed = Fault(body=completion("7/10"), headers={"Content-Encoding": "gzip"})
    with (
        judging(JudgeServer(fault=lambda prompt, before: squeezed)) as server,
        pytest.raises(UserError, match="sends a compressed reply"),
    ):
        asked(openai_client(server), ["q"])
    assert server.requests and all(method in ("GET", "POST") for method, *_ in server.requests)


def test_a_reply_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(bounded_http, "MOST_BYTES", 10_000)
    endless = Fault(body=completion("x" * 50_000))
    with (
        judging(JudgeServer(fault=lambda prompt, before: endless)) as server,
        pytest.raises(UserError, match="sends a reply of more than"),
    ):
        asked(openai_client(server), ["q"])
