"""Ids that follow a growing text against encoding all of it at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, normalizers
from tokenizers_of import ALL, TEXTS, tokenizer_of
from transformers import PreTrainedTokenizerFast

from swarm.members.fusion.boundaries import Boundaries, boundaries_of
from swarm.members.fusion.follower import Follower
from swarm.members.fusion.growing_text import GrowingText

WORDS = """the quick brown fox don't x1 12 3 456 é 東京 北京是中国 😀 👍🏽 <tool call> </s> <s> <unk> ۱۲۳ １２３ ﬁ Ǆ …
    -- , ... (a) ▁ Ġ \ufffd \u0301 \u200d <tool </ s> 0 a b"""
SPACES = [" call>", " ", "  ", "   ", "\n", "\n\n", " \n", "\t", "\r\n", "  \n", "\u00a0", "\u3000"]
PARTS = st.sampled_from(WORDS.split() + SPACES) | st.text(alphabet="abAB01 \n.é東", max_size=6)
CHUNKS = st.lists(st.lists(PARTS, min_size=1, max_size=4).map("".join), max_size=40)
LONG = " ".join(TEXTS)


def at_once(tokenizer, text, special):
    return list(tokenizer(text, add_special_tokens=special)["input_ids"])


@pytest.mark.filterwarnings("ignore:This sequence already has </s>:UserWarning")
@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_ids_are_always_those_of_the_whole_text(name, special):
    tokenizer = tokenizer_of(name)

    @settings(max_examples=40, deadline=None)
    @given(st.sampled_from(["", "Q: what?\nA:", LONG]), CHUNKS)
    def check(prompt, chunks):
        follower = Follower(tokenizer, prompt, special)
        chunks = [*chunks, "</s>"]
        assert follower.ids == at_once(tokenizer, prompt, special)
        for chunk in chunks:
            ids = follower.extend(chunk)
            assert ids == at_once(tokenizer, follower.text, special), follower.text
        assert follower.text == prompt + "".join(chunks)

    check()


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("name", [name for name in ALL if name != "slow-bytes"])
def test_only_the_end_is_encoded_again(name, size):
    tokenizer, text = tokenizer_of(name), LONG * 4
    follower = Follower(tokenizer, LONG, True)
    for start in range(0, len(text), size):
        follower.extend(text[start : start + size])
    assert follower.ids == at_once(tokenizer, follower.text, True)
    # the embedded one's phrases are single tokens with spaces in them, so that many spaces are no certain ends
    most = 400 if name == "embedded" else 150
    assert follower.encoded < len(LONG) * 3 + len(text) / size * most


@pytest.mark.parametrize("name", ["llama2", "gpt2", "metaspace", "byte-level-groups"])
def test_languages_without_spaces(name):
    tokenizer, text = tokenizer_of(name), "春眠不覺曉處處聞啼鳥夜來風雨聲花落知多少。" * 19
    follower = Follower(tokenizer, "", True)
    for character in text:
        assert follower.extend(character)
    assert follower.ids == at_once(tokenizer, text, True)
    assert follower.encoded < 100 * len(text)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=60, deadline=None)
@given(text=st.lists(PARTS, max_size=14).map("".join), more=st.lists(PARTS, max_size=4).map("".join))
def test_certain_cuts_are_ends_of_tokens_whatever_follows(name, text, more):
    tokenizer = tokenizer_of(name)
    boundaries = boundaries_of(tokenizer)
    context = "Some words before and after, "
    for position in range(len(text)):
        if boundaries.certain(text, position):
            head = at_once(tokenizer, context + text[:position], False)
            for whole in (text, text + more):
                assert at_once(tokenizer, context + whole, False)[: len(head)] == head, (text[:position], whole)


def test_what_cannot_be_proved_is_encoded_whole():
    backend = tokenizer_of("metaspace").backend_tokenizer
    backend = backend.from_str(backend.to_str())
    backend.normalizer = normalizers.Replace(Regex("(a) (b)"), "$2 $1")
    strange = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert not Boundaries(strange).known
    follower, text = Follower(strange, "a a a b " * 20, False), "a a a b " * 20
    for character in "a b a b a b":
        text += character
        assert follower.extend(character) == at_once(strange, text, False)
    assert follower.encoded > 11 * 160


def test_tokens_added_later_are_seen():
    tokenizer = tokenizer_of("byte-level")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    )
    assert boundaries_of(tokenizer) is boundaries_of(tokenizer)
    assert boundaries_of(tokenizer).certain("one two", 3)
    tokenizer.add_tokens(["one two"])
    assert not boundaries_of(tokenizer).certain("one two", 3)


@pytest.mark.parametrize("main", ["llama2", "gpt2", "metaspace", "byte-level"])
@pytest.mark.parametrize("other", ["llama2", "gpt2", "unigram-normalized", "words"])
def test_from_one_tokenizer_to_the_other(main, other):
    """Specification 7.1, text bridge: what one model writes is what the other one reads, at every step."""
    writer, reader = tokenizer_of(main), tokenizer_of(other)
    prompt = "Question: où est-ce?\nAnswer:"
    answer = " 東京, naïve\n\n  two  spaces, 1234 😀\nGrößeĠ."
    prompt_ids = at_once(writer, prompt, True)
    growing, follower = GrowingText(writer, prompt_ids), Follower(reader, prompt, True)
    for token in at_once(writer, prompt + answer, True)[len(prompt_ids) :]:
        ids = follower.extend(growing.append(token))
        assert ids == at_once(reader, prompt + growing.text, True)
    assert growing.text == answer
    if other in ("llama2", "gpt2"):  # the others know no characters but those of a few lines
        read = reader.decode(follower.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert read == prompt + answer
