"""What a model has generated as text, token by token, against decoding everything at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers_of import ALL, TEXTS, tokenizer_of

from swarm.members.fusion.growing_text import GrowingText, LegacyText, special_ids
from swarm.members.fusion.pieces import BYTE_PIECE

PROMPTS = ["", "Answer:", "a\n", " two  spaces ", "東京"]
PIECES = st.sampled_from(
    [
        "\n",
        " ",
        "  ",
        "   ",
        "\t",
        "a",
        " the",
        "é",
        "😀",
        "👍🏽",
        "東京",
        "1",
        "42",
        "Ġ",
        "▁",
        "\ufffd",
        ".",
        "don't",
        "ﬁ",
        "\u0301",
    ]
)
TEXT = (
    st.lists(PIECES | st.text(max_size=3), max_size=12)
    .map("".join)
    .filter(lambda text: text.isprintable() or "\n" in text)
)


def whole(tokenizer, prompt_ids, ids):
    """What everything at once gives after the prompt."""
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    before, after = tokenizer.decode(prompt_ids, **options), tokenizer.decode([*prompt_ids, *ids], **options)
    assert after.startswith(before)
    return after[len(before) :]


def grown(tokenizer, prompt_ids, ids):
    growing = GrowingText(tokenizer, prompt_ids)
    chunks = [growing.append(token) for token in ids] + [growing.finish()]
    assert "".join(chunks) == growing.text and not growing.pending
    return growing.text


def encoded(tokenizer, text):
    try:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    except UnicodeEncodeError:  # half of a surrogate pair
        return []


@pytest.mark.parametrize("name", ALL)
def test_parts_together_are_the_whole(name):
    tokenizer = tokenizer_of(name)

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(PROMPTS), TEXT | st.sampled_from(TEXTS))
    def check(prompt, text):
        prompt_ids = list(tokenizer(prompt)["input_ids"])
        if prompt_ids[-1:] == [tokenizer.eos_token_id]:
            prompt_ids.pop()
        ids = encoded(tokenizer, text)
        assert grown(tokenizer, prompt_ids, ids) == whole(tokenizer, prompt_ids, ids)

    check()


@pytest.mark.parametrize("name", ALL)
def test_any_tokens_whatever(name):
    """Halves of characters and special tokens too; byte pieces only in other models than those of whole runs."""
    tokenizer = tokenizer_of(name)
    pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    usable = [number for number, piece in enumerate(pieces) if not BYTE_PIECE.fullmatch(piece)]
    usable += 5 * [tokenizer.eos_token_id]

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(["", "a b"]), st.lists(st.integers(0, len(usable) - 1), max_size=12))
    def check(prompt, numbers):
        prompt_ids, ids = encoded(tokenizer, prompt), [usable[number] for number in numbers]
        assert grown(tokenizer, prompt_ids, ids) == whole(tokenizer, prompt_ids, ids)

    check()


@pytest.mark.parametrize("name", ["llama2", "gpt2", "metaspace", "byte-level"])
def test_whole_characters_are_known_at_once(name):
    """A newline, which stop strings wait for, above all; of others nothing but the bytes of one character waits."""
    tokenizer = tokenizer_of(name)
    for text in ("x\ny", "\n\n\n", "é", "😀😀", "a 東京 b"):
        prompt = encoded(tokenizer, "Q:")
        growing, ids, known = GrowingText(tokenizer, prompt), encoded(tokenizer, "Q:" + text), "Q:"
        assert ids[: len(prompt)] == prompt
        for number in range(len(prompt), len(ids)):
            known += growing.append(ids[number])
            assert ("Q:" + text).startswith(known)
            assert growing.pending == tokenizer.decode(ids[: number + 1]).endswith("\ufffd")
        assert known == "Q:" + text


def test_bytes_that_are_no_character_do_not_spoil_those_before():
    """Where one decoding of the whole run would give U+FFFD for every byte of it."""
    tokenizer = tokenizer_of("metaspace")
    ids = tokenizer.convert_tokens_to_ids(["a", "<0xC3>", "<0xA9>", "<0xF0>", "<0x9F>", "<0x0A>", "a", "<0xE2>"])
    growing = GrowingText(tokenizer)
    assert [growing.append(token) for token in ids] == ["a", "", "é", "", "", "\ufffd\n", "a", ""]
    assert growing.pending and growing.finish() == "\ufffd" and growing.text == "aé\ufffd\na\ufffd"


def test_the_space_before_the_first_word_depends_on_what_is_before_it():
    llama, gpt2 = tokenizer_of("llama2"), tokenizer_of("gpt2")
    paris = llama.convert_tokens_to_ids("▁Paris")
    assert grown(llama, encoded(llama, "Answer:"), [paris, paris]) == " Paris Paris"
    assert grown(llama, [llama.bos_token_id], [paris, paris]) == "Paris Paris", "as its decoder has it"
    assert grown(llama, [], [paris]) == "Paris"
    assert grown(gpt2, [], encoded(gpt2, " Paris")) == " Paris"


def test_special_tokens_are_text_where_they_are_asked_for():
    tokenizer = tokenizer_of("llama2")
    ids = [*encoded(tokenizer, "yes"), tokenizer.eos_token_id]
    assert tokenizer.eos_token_id in special_ids(tokenizer)
    assert grown(tokenizer, ids[:1], ids) == " yes"
    asked = GrowingText(tokenizer, [], skip_special_tokens=False)
    assert "".join(map(asked.append, ids)) == "yes</s>"


def test_tokens_that_the_tokenizer_does_not_know_are_no_text():
    for name in ("llama2", "gpt2"):
        tokenizer = tokenizer_of(name)
        ids = [*encoded(tokenizer, "red"), len(tokenizer) + 7, *encoded(tokenizer, " green")]
        assert "red" in grown(tokenizer, [], ids) and grown(tokenizer, [], ids).endswith("green")


def test_a_slow_tokenizer_to_which_half_a_character_is_nothing():
    tokenizer, text = tokenizer_of("slow-bytes"), "naïve 東京 😀\n"
    growing = GrowingText(tokenizer, encoded(tokenizer, "Q: "))
    parts = [growing.append(token) for token in [*encoded(tokenizer, text), tokenizer.eos_token_id]]
    assert [part for part in parts if part] == list(text)


def test_the_original_s_bridge_writes_pieces_literally():
    """Llama's newlines become six characters, byte-level pieces stay as they are (specification 1.6)."""
    llama, gpt2 = tokenizer_of("llama2"), tokenizer_of("gpt2")
    ids = llama.convert_tokens_to_ids(["▁Paris", "<0x0A>", "▁▁", "s", "<0xC3>"])
    legacy = LegacyText(llama, encoded(llama, "Answer:"))
    assert "".join(map(legacy.append, ids)) == legacy.text == " Paris<0x0A> ▁s<0xC3>"
    assert not legacy.pending and legacy.finish() == ""
    legacy = LegacyText(gpt2)
    assert "".join(map(legacy.append, encoded(gpt2, " the\n"))) == "ĠtheĊ"
    assert LegacyText(llama).append(llama.eos_token_id) == "</s>"
