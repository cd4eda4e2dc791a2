"""Stop strings, system messages and arguments of chat templates: read, kept in records and keys only where given."""

import json
import pickle

import pytest

from swarm.engines.base import GenerationParams, params_of
from swarm.engines.overrides import NAMES, Overrides, overrides_of
from swarm.engines.sampling import Sampling
from swarm.errors import UserError
from swarm.evolution.checked_config import make_config
from swarm.programs.task import given_overrides, with_users_own

TASK = {"eval_type": "exact_match", "dataset": "x"}
FULL = {
    "sampling": {"temperature": 0.7},
    "stop_strings": ["\n\n", "Question:"],
    "system_message": "Be brief, please.",
    "chat_template_kwargs": {"enable_thinking": False, "effort": "low"},
}


def test_parameters_without_them_are_byte_for_byte_what_they_were():
    assert json.dumps(GenerationParams(4, True).facts()) == "[4, true, false]"
    assert json.dumps(GenerationParams(4).record()) == '{"max_new_tokens": 4, "chat": false, "second_bos": false}'
    warm = {"temperature": 0.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 2}
    sampled = GenerationParams(4, sampling=Sampling(0.5, seed=2))
    assert json.dumps(sampled.facts()) == f"[4, false, false, {json.dumps(warm)}]"
    assert list(sampled.record()) == ["max_new_tokens", "chat", "second_bos", "sampling"]


def test_they_come_back_from_json_and_differ_in_facts():
    given = overrides_of("", FULL)
    params = GenerationParams(4, True, **given.given())
    assert params_of(json.loads(json.dumps(params.record()))) == params
    assert params.stop_strings == ("\n\n", "Question:")
    assert params.chat_template_kwargs == (("effort", "low"), ("enable_thinking", False))
    each = [GenerationParams(4, True, **overrides_of("", {name: FULL[name]}).given()) for name in NAMES]
    empty = GenerationParams(4, True, system_message="")
    assert len({json.dumps(one.facts()) for one in (*each, params, empty, GenerationParams(4, True))}) == 7
    assert overrides_of("", {"stop_strings": None, "system_message": None}) == Overrides()
    assert hash(params) == hash(params_of(params.record()))
    assert pickle.loads(pickle.dumps(params)) == params, "as workers get them"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"stop_strings": [""]}, "stop_strings has an empty text, at which every answer would end"),
        ({"stop_strings": ""}, "stop_strings has an empty text"),
        ({"stop_strings": [1]}, r"stop_strings is \[1\]; wanted a text or a list of texts"),
        ({"system_message": 5}, "system_message is 5; wanted a text"),
        ({"chat_template_kwargs": {"a": None}}, "a is None; wanted a text, a number, true or false"),
        ({"chat_template_kwargs": {"a": [1]}}, r"a is \[1\]; wanted a text"),
        ({"chat_template_kwargs": {"tools": "x"}}, "'tools', which is not the user's to give"),
        ({"chat_template_kwargs": {"messages": "x"}}, "a system message is --system_message"),
        ({"chat_template_kwargs": 3}, "chat_template_kwargs is 3; wanted an object"),
        ({"sampling": 3}, "sampling is 3; wanted an object"),
        ({"stops": ["a"]}, "stops is no setting, wanted of sampling, stop_strings"),
    ],
)
def test_what_cannot_be(given, said):
    with pytest.raises(UserError, match=said) as told:
        overrides_of("file: ", given)
    assert str(told.value).startswith("file: ") and "\n" not in str(told.value)


def test_options_are_typed_as_one_would():
    def given(**settings):
        return given_overrides(make_config(TASK | settings))

    assert given() == Overrides()
    assert given(stop_strings="Question:").stop_strings == ("Question:",)
    assert given(stop_strings='["\\n", "["]').stop_strings == ("\n", "[")
    assert given(stop_strings="[]").stop_strings == ()
    assert given(system_message="").system_message == ""
    assert given(chat_template_kwargs="enable_thinking=false,effort=low,n=2").chat_template_kwargs == (
        ("effort", "low"), ("enable_thinking", False), ("n", 2)
    )  # fmt: skip
    assert given(chat_template_kwargs='{"a": "b,c"}').chat_template_kwargs == (("a", "b,c"),)
    # as files and Python say them
    assert given(**FULL) == overrides_of("", FULL)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stop_strings": ""}, "--stop_strings has an empty text"),
        ({"stop_strings": "[a"}, "--stop_strings is .* begins as a JSON list and is none"),
        ({"chat_template_kwargs": "{a"}, "--chat_template_kwargs is .* begins as a JSON object and is none"),
        ({"chat_template_kwargs": "thinking"}, "--chat_template_kwargs has 'thinking'; wanted NAME=VALUE"),
        ({"sampling": "temperature=0"}, "--sampling: temperature is 0, wanted a number above 0"),
        ({"system_message": "Hi", "chat": False}, "system_message is for the chat template, .* --chat 1"),
    ],
)
def test_options_that_cannot_be(settings, said):
    with pytest.raises(UserError, match=said):
        with_users_own(GenerationParams(4, True), make_config(TASK | settings))


def test_a_dataset_s_own_give_way_to_the_user_s():
    own = params_of(GenerationParams(4, True).record() | FULL)
    assert with_users_own(own, make_config(TASK)) == own
    bare = with_users_own(own, make_config(TASK | {"stop_strings": "[]", "chat_template_kwargs": "{}"}))
    assert bare.stop_strings == () and bare.chat_template_kwargs == () and bare.sampling == own.sampling
