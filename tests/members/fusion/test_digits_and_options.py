"""Digits that are voted on, and options that are chosen between."""

import pytest
import torch
from fusing import PROMPTS, fusion_model, three_models, written
from kinds_of_tokenizers import LINES, byte_level_bpe, real_tokenizer, real_vocabulary, sentence_piece_bpe

from swarm.errors import UserError
from swarm.maths.member_weights import uniform
from swarm.members.fusion.build import make_chooser
from swarm.members.fusion.digit_vote import DigitVote
from swarm.members.fusion.fused_decoding import FusedDecoding
from swarm.members.fusion.fusion_models import Prompt
from swarm.members.fusion.fusion_settings import read_settings
from swarm.members.fusion.option_choice import choose_options, option_tokens, with_shared_blank, written_option
from swarm.members.fusion.token_choosers import MainAlone, TokenChoice
from swarm.members.fusion.vocabulary import read_vocabulary

NUMBERS = [f"{number} + {number} = {number}{number}" for number in range(10)] * 4
MAIN, LEVEL = sentence_piece_bpe([*LINES, *NUMBERS], 600), byte_level_bpe([*LINES, *NUMBERS], 500)
VOCABULARIES = [read_vocabulary(*pair) for pair in ((MAIN, "main"), (LEVEL, "two"), (MAIN, "three"))]


class Inner:
    """Notes what it is asked, and always chooses token 9."""

    def __init__(self):
        self.asked = []

    def __call__(self, logits, weights):
        self.asked.append(([None if own is None else own.argmax(-1).tolist() for own in logits], weights.tolist()))
        return TokenChoice(torch.full((len(weights),), 9), 0.25)


def token(vocabulary, text):
    return vocabulary.ids["text", text.encode()]


def logits_for(*texts):
    """One row for each member, whose likeliest token says the text; None for a member that is left out."""
    rows = []
    for vocabulary, text in zip(VOCABULARIES, texts, strict=True):
        if text is None:
            rows.append(None)
            continue
        rows.append(torch.zeros(1, len(vocabulary)))
        rows[-1][0, token(vocabulary, text)] = 5
    return rows


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        ((" 5", " 7", "7"), " 7"),  # the majority, with main's blank: "▁7" is "7"
        (("5", " 7", "7"), "7"),
        ((" 5", "7", " 3"), " 5"),  # a tie: the first
        ((" 5", "5", "7"), " 5"),
        ((" 5", None, " 7"), " 5"),
        ((" 5", " the", " the"), None),  # the majority is for something else
        ((" the", " 7", " 7"), None),  # the main model is not at a number
        ((" 5", " 77", " 77"), " 77"),
    ],
)
def test_the_majority_chooses_digits(texts, wanted):
    inner = Inner()
    choice = DigitVote(inner, VOCABULARIES)(logits_for(*texts), uniform(3))
    expected = 9 if wanted is None else token(VOCABULARIES[0], wanted)
    assert choice.tokens.tolist() == [expected] and len(inner.asked) == (wanted is None)


def test_only_rows_without_digits_are_fused():
    both = [logits_for(" 5", " 7", "7"), logits_for(" the", ",", ",")]
    several = [torch.cat(rows) for rows in zip(*both, strict=True)]
    inner = Inner()
    choice = DigitVote(inner, VOCABULARIES)(several, torch.tensor([[1.0, 0, 0], [0, 1, 0]]))
    assert choice.tokens.tolist() == [token(VOCABULARIES[0], " 7"), 9] and choice.dropped == 0.25
    [(tops, weights)] = inner.asked
    assert tops == [[token(own, text)] for own, text in zip(VOCABULARIES, (" the", ",", ","), strict=True)]
    assert weights == [[0, 1, 0]]


def test_a_number_that_the_main_model_writes_in_parts_begins_with_its_first():
    own = [real_vocabulary(name) for name in ("llama2", "gpt2", "gpt2")]
    logits = [torch.zeros(1, len(vocabulary)) for vocabulary in own]
    for row, (vocabulary, text) in zip(logits, zip(own, ("5", " 1984", "1984"), strict=True), strict=True):
        row[0, token(vocabulary, text)] = 5
    choice = DigitVote(Inner(), own)(logits, uniform(3))
    assert real_tokenizer("llama2").convert_ids_to_tokens(choice.tokens.tolist()) == ["1"]


def test_a_decoding_with_votes(capsys):
    fusion_models = three_models()
    settings = read_settings("here", {"learning_rate": 0.5}, 3)
    vocabularies = [read_vocabulary(one.tokenizer, one.name) for one in fusion_models]
    chooser = DigitVote(make_chooser(fusion_models, settings), vocabularies)
    together = written(fusion_models, decoding=FusedDecoding(fusion_models, chooser, settings))
    assert together == [
        written(fusion_models, [prompt], decoding=FusedDecoding(fusion_models, chooser, settings))[0]
        for prompt in PROMPTS
    ]


@pytest.fixture(scope="module")
def fusion_models():
    return three_models()


@pytest.mark.parametrize("record", [{}, {"mode": "tas2"}, {"inverse": "em"}, {"inverse": "none"}, {"rows": "lazy"}])
def test_scores_are_those_of_the_whole_step(fusion_models, record):
    torch.manual_seed(0)
    logits = [4 * torch.randn(3, len(one.embeddings)) for one in fusion_models]
    asked = logits[0].topk(120).indices[:, ::20]  # of which the last are improbable
    found = []
    for candidates in ("needed", "all"):
        settings = read_settings("here", {"learning_rate": 0.3, "candidates": candidates, "dropped": 1e-6, **record}, 3)
        found.append(make_chooser(fusion_models, settings).scores(logits, uniform(3), asked))
    assert found[0].shape == (3, 6) and found[0].isfinite().all()
    # a converged inverse takes tokens down without end that nobody is for: how far does not matter
    likely = found[1] > found[1].amax(-1, keepdim=True) - 4
    assert likely.any(-1).all()
    torch.testing.assert_close(found[0][likely], found[1][likely], atol=0.05, rtol=0)
    assert found[0].argmax(-1).equal(found[1].argmax(-1))


def test_scores_of_other_spaces_and_alone(fusion_models):
    logits = [torch.zeros(1, len(one.embeddings)) for one in fusion_models]
    vocabularies = [read_vocabulary(one.tokenizer, one.name) for one in fusion_models]
    asked = torch.tensor([[vocabularies[0].ids["text", text] for text in (b" the", b",", b"e", b"e")]])
    for own, vocabulary in zip(logits[1:], vocabularies[1:], strict=True):
        own[0, vocabulary.ids["text", b"e"]] = 6
    logits[0][0, asked[0, 0]] = 1
    assert MainAlone().scores(logits, uniform(3), asked).tolist() == [[1, 0, 0, 0]]
    assert MainAlone()(logits, uniform(3)).tokens.tolist() == [asked[0, 0]]
    for space in ("union", "mapped"):
        scores = make_chooser(fusion_models, read_settings("here", {"space": space}, 3)).scores(
            logits, uniform(3), asked
        )
        assert scores[0, 2] == scores[0, 3] > scores[0, 0] > scores[0, 1]


def test_the_token_that_an_option_begins_with():
    llama, gpt2 = (
        fusion_model(name, three_models()[0].stepper.model, real_tokenizer(name)) for name in ("llama2", "gpt2")
    )

    def pieces(one, prompt, *options):
        return one.tokenizer.convert_ids_to_tokens(option_tokens(one, Prompt(prompt, False), options))

    assert pieces(llama, "<s>Answer:", "A", "B") == ["▁A", "▁B"] and pieces(gpt2, "Answer:", "A", "B") == ["ĠA", "ĠB"]
    assert pieces(llama, "<s>Answer:\n", "A", "B") == ["A", "B"] and pieces(gpt2, "Answer (", "A") == ["ĠA"]
    assert pieces(gpt2, "Answer: ", "A") == ["A"]
    assert pieces(gpt2, "Answer:", " yes", "no") == ["Ġyes", "Ġno"]
    assert (written_option("a:", "b"), written_option("a: ", "b"), written_option("a:", " b")) == (" b", "b", " b")
    with pytest.raises(UserError, match="options 'A' and 'A' begin with the same token for gpt2"):
        pieces(gpt2, "Answer:", "A", "A")
    with pytest.raises(UserError, match="options '1' and '2' begin with the same token"):
        pieces(llama, "<s>Answer:", "1", "2")
    asked = [Prompt("<s>Answer:", False), Prompt("Answer:", False)]
    assert [prompt.text for prompt in with_shared_blank(llama, asked, ("1", "2"))] == ["<s>Answer: ", "Answer: "]
    assert pieces(llama, "<s>Answer: ", "1", "2") == ["1", "2"]
    for options in (("A", "B"), ("1", "A"), ("1",)):
        assert with_shared_blank(llama, asked, options) == asked


def test_every_prompt_is_chosen_for_as_alone(fusion_models):
    settings = read_settings("here", {"learning_rate": 0.5}, 3)
    decoding = FusedDecoding(fusion_models, make_chooser(fusion_models, settings), settings)
    prompts = [[Prompt(prompt, True) for prompt in PROMPTS] for _ in fusion_models]
    options = [("the", "and", ","), ("a", "the")] * 3
    together = choose_options(decoding, prompts, options)
    for row, chosen in enumerate(together):
        own = [[each[row]] for each in prompts]
        assert choose_options(decoding, own, [options[row]]) == [chosen]
    assert decoding.count.tokens == decoding.count.fused == 12
    assert len(set(together)) > 1
