"""What is put to the base, and which tokens are learned."""

import pytest
from finetuning import BASE, SECOND
from transformers import AutoTokenizer

from swarm.engines.base import GenerationParams
from swarm.engines.local.chat_template import rendered
from swarm.errors import UserError
from swarm.training.samples import Sample
from swarm.training.tokens import IGNORED, token_rows

MARKED = (
    "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|end|>"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]"
    "{% endif %}"
)
PLAIN = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
TALK = (("user", "ab"), ("assistant", "cd"), ("user", "ef"), ("assistant", "gh"))


def second(template=None):
    tokenizer = AutoTokenizer.from_pretrained(SECOND)
    tokenizer.chat_template = template
    return tokenizer


def sample(*messages, chat=False, separator=" "):
    return Sample("file: line 1", messages, chat, separator)


def learned(tokenizer, rows):
    """The text that is learned of each row, and the tokens before it."""
    found = []
    for ids, labels in zip(rows.input_ids, rows.labels, strict=True):
        begins = int((labels != IGNORED).argmax())
        found.append((ids[:begins].tolist(), tokenizer.decode(ids[labels != IGNORED])))
    return found


@pytest.mark.parametrize("folder", [BASE, SECOND])
def test_a_prompt_is_what_the_engine_puts_and_the_answer_is_learned_with_its_end(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = "Please answer the following question.\nQuestion: C-D:4 D-E:3 ; degree of C"
    rows = token_rows(tokenizer, [sample(("user", prompt), ("assistant", "4"))], False, 256)
    [(before, text)] = learned(tokenizer, rows)
    [asked], special = rendered(tokenizer, [prompt], GenerationParams(4))
    assert special and before == tokenizer(asked)["input_ids"]
    assert text.replace(" ", "") == "4" + tokenizer.eos_token
    assert rows.learned == len(rows.input_ids[0]) - len(before)


def test_tokens_that_would_merge_across_the_border_do_not():
    tokenizer = second()
    word = next(word for word in sorted(tokenizer.get_vocab()) if len(word) > 3 and word.isalpha())
    rows = token_rows(tokenizer, [sample(("user", word[:2]), ("assistant", word[2:]), separator="")], False, 256)
    [(before, text)] = learned(tokenizer, rows)
    assert before == tokenizer(word[:2])["input_ids"] and text == word[2:] + tokenizer.eos_token


def test_a_separator_is_put_only_where_nothing_separates():
    tokenizer = second()
    made = [sample(("user", asked), ("assistant", "b")) for asked in ("a", "a\n")]
    first, other = token_rows(tokenizer, made, False, 256).input_ids
    assert tokenizer.decode(first[1:]) == "a b<|end|>" and tokenizer.decode(other[1:]) == "a\nb<|end|>"


def test_of_a_chat_all_that_the_assistant_says_is_learned_where_the_template_marks_it():
    for template, text in ((MARKED, "cd<|end|>gh<|end|>"), (PLAIN, "gh<|end|>")):
        tokenizer = second(template)
        rows = token_rows(tokenizer, [sample(*TALK, chat=True)], True, 256)
        assert [said for _, said in learned(tokenizer, rows)] == [text]
        assert tokenizer.decode(rows.input_ids[0]) == "[user]ab[assistant]cd<|end|>[user]ef[assistant]gh<|end|>"


def test_in_a_template_a_prompt_is_what_the_engine_puts():
    tokenizer = second(MARKED + "{{ strftime_now('%d %b %Y') }}")
    rows = token_rows(tokenizer, [sample(*TALK[:2])], True, 256)
    [asked], special = rendered(tokenizer, ["ab"], GenerationParams(4, chat=True))
    ids = tokenizer(asked, add_special_tokens=special)["input_ids"]
    assert rows.input_ids[0][: len(ids)].tolist() == ids
    assert tokenizer.decode(rows.input_ids[0]).endswith("cd<|end|>26 Jul 2024")


def test_rows_that_are_too_long_are_cut_and_counted():
    tokenizer = second()
    made = [sample(("user", "a" * prompt), ("assistant", "b" * 30)) for prompt in (2, 40, 90)]
    whole = token_rows(tokenizer, made, False, 256)
    assert (whole.shortened, whole.dropped) == (0, 0)
    middle = len(whole.input_ids[1]) - 3
    cut = token_rows(tokenizer, made, False, middle)
    assert (cut.shortened, cut.dropped, len(cut.labels)) == (2, 1, 2)
    assert len(cut.input_ids[1]) == middle and cut.input_ids[1].tolist() == whole.input_ids[1][:middle].tolist()
    with pytest.raises(UserError, match="file: line 1 and all other rows have prompts that fill max_length"):
        token_rows(tokenizer, made[1:], False, 10)


def test_what_a_template_refuses_or_nobody_has():
    with pytest.raises(UserError, match=r"line 1: a conversation of 4 messages needs a chat template"):
        token_rows(second(), [sample(*TALK, chat=True)], False, 256)
    refusing = "{{ raise_exception('no system here') }}"
    with pytest.raises(UserError, match=r"line 1: the base's chat template refuses .*no system here"):
        token_rows(second(refusing), [sample(*TALK[:2])], True, 256)


def test_in_a_template_an_answer_is_read_together_with_its_prompt_where_that_changes_no_token_of_the_prompt():
    """Apart, a tokenizer that puts a blank before a text would put one before the answer."""
    turns = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    tokenizer = second(turns + "{% if add_generation_prompt %}assistant:{% endif %}")
    rows = token_rows(tokenizer, [sample(("user", "a"), ("assistant", "yes"))], True, 256)
    whole = tokenizer("user: a\nassistant: yes\n", add_special_tokens=False)["input_ids"]
    assert rows.input_ids[0].tolist() == whole
