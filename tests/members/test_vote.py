"""Votes and the answer nearest to all others, as members of a pool."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import paper_pool

from swarm.engines.base import Completion, GenerationParams, Request
from swarm.errors import UserError
from swarm.members.members import read_composite
from swarm.members.vote import READINGS, shared_words

EXPERTS = {expert.name: expert for expert in paper_pool(4).experts()}
WORDS = st.lists(st.sampled_from("a b c d".split()), max_size=5).map(" ".join)


def composite(folder, **record):
    """The composite of a folder with this node.json."""
    folder.mkdir(exist_ok=True)
    (folder / "node.json").write_text(json.dumps({"members": ["expert_0", "expert_1", "expert_2"]} | record))
    return read_composite(folder)


def chosen(folder, texts, **record):
    """The text that it chooses when its members answer these."""
    names = [f"expert_{i}" for i in range(len(texts))]
    relay = composite(folder, members=names, **record).with_members(EXPERTS)
    request = Request(relay, "a prompt", GenerationParams(4, chat=True))
    [asked] = relay.pass_on([request])
    assert [(each.member.name, each.prompt, each.params) for each in asked] == [
        (name, "a prompt", request.params) for name in names
    ]
    completion = relay.go_on(request, [[Completion(text, 3, 2) for text in texts]])
    assert (completion.prompt_tokens, completion.new_tokens) == (0, 0), "its members have been counted"
    return completion.text


@pytest.mark.parametrize(
    ("texts", "by", "wanted"),
    [
        (["no", "Yes.", "yes"], "answer", "Yes."),
        (["a", "b", "b ", "a"], "answer", "a"),
        (["So 5. The answer is 7.", "The answer is 5.", "7.0"], "answer", "So 5. The answer is 7."),
        (["", "  ", "x"], "answer", "x"),
        (["", " ", "."], "answer", ""),
        (["it is 3", "3 or 4", "first 9, then 3"], "number", "it is 3"),
        (["none", "nothing", "4"], "number", "4"),
        (["The answer is B", "B: it is so", "A"], "letter", "The answer is B"),
    ],
)
def test_the_majority_is_followed_and_of_equals_the_first(tmp_path, texts, by, wanted):
    assert chosen(tmp_path / "vote", texts, type="vote", by=by) == wanted


def test_the_answer_that_shares_most_with_the_others_is_taken(tmp_path):
    texts = ["a dog runs", "a dog runs fast", "the cat sleeps"]
    assert chosen(tmp_path / "mbr", texts, type="mbr") == "a dog runs"
    assert chosen(tmp_path / "mbr", ["x", "y", "z", "y"], type="mbr", utility="words") == "y"


def test_who_abstains_does_not_vote(tmp_path):
    texts = ["unknown", "Unknown.", "4", "5"]
    assert chosen(tmp_path / "vote", texts, type="vote", abstain=["Unknown"]) == "4"
    assert chosen(tmp_path / "vote", texts, type="vote") == "unknown"
    assert chosen(tmp_path / "vote", ["unknown", "unknown"], type="vote", abstain=["unknown"]) == "unknown"
    letters = ["E", "The answer is E.", "A"]
    assert chosen(tmp_path / "vote", letters, type="vote", by="letter", abstain=["E", "unknown"]) == "A"
    assert chosen(tmp_path / "vote", ["-1", "-1.0", "4"], type="vote", by="number", abstain=["-1.00"]) == "4"


@given(WORDS, WORDS)
def test_shared_words_is_a_likeness(one, other):
    likeness = shared_words(one, other)
    assert 0 <= likeness <= 1
    assert likeness == shared_words(other, one)
    assert (likeness == 1) == (sorted(one.split()) == sorted(other.split()))


@given(st.text(max_size=30))
def test_any_text_can_be_read(text):
    for reading in READINGS.values():
        assert reading(text) is None or reading(text)


def test_the_digest_is_that_of_what_it_asks_and_how(tmp_path):
    vote = composite(tmp_path / "vote", type="vote")
    same = composite(tmp_path / "again", type="vote", by="answer")
    other = [
        composite(tmp_path / "number", type="vote", by="number"),
        composite(tmp_path / "mbr", type="mbr"),
        composite(tmp_path / "order", type="vote", members=["expert_1", "expert_0", "expert_2"]),
    ]
    digests = [each.with_members(EXPERTS).digest for each in (vote, *other)]
    assert len(set(digests)) == 4
    assert same.with_members(EXPERTS).digest == digests[0], "a name or a default that is spelt out changes nothing"
    moved = EXPERTS | {"expert_2": paper_pool(4).expert("expert_2", [0, 0, 0.5, 0.5])}
    assert vote.with_members(moved).digest != digests[0]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"type": "poll"}, "type is 'poll'; wanted one of: vote, mbr"),
        ({}, "type is None; wanted one of"),
        ({"type": "vote", "by": "weight"}, "by is 'weight'; wanted one of: answer, number, letter"),
        ({"type": "mbr", "utility": "bleu"}, "utility is 'bleu'; wanted one of: words, chrf"),
        (
            {"type": "vote", "utility": "words"},
            "has the field 'utility'; wanted of: abstain, by, chat_template_kwargs, draws, ",
        ),
        ({"type": "vote", "abstain": "unknown"}, "abstain is 'unknown'; wanted a list of answers"),
        ({"type": "vote", "members": ["expert_0"]}, "wanted a list of at least 2 names"),
        ({"type": "vote", "members": "expert_0"}, "members is 'expert_0'; wanted a list"),
        ({"type": "vote", "members": ["expert_0", 1]}, "wanted a list of at least 2 names"),
        ({"type": "vote", "members": ["expert_0", "expert_0"]}, "names member 'expert_0' twice"),
    ],
)
def test_faults_are_named(tmp_path, record, message):
    with pytest.raises(UserError, match=message):
        composite(tmp_path / "vote", **record)
