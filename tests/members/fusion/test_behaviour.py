"""What fusion is good for and what it is not, on models whose knowledge is known (specification, 7.3)."""

import logging
import math
import random

import pytest
import torch
from fusing import written
from table_models import LETTERS, half_a_table, letters_tokenizer, table_fusion_model, words_tokenizer

from swarm.maths.inverse import flip_bound, total_decay
from swarm.maths.member_weights import uniform
from swarm.members.fusion.build import make_chooser
from swarm.members.fusion.fused_step import FusedStep
from swarm.members.fusion.fusion_models import FusionModel
from swarm.members.fusion.fusion_settings import read_settings
from swarm.members.fusion.rows import DenseRows, RowSource
from swarm.members.fusion.step_settings import StepSettings

SUCCESSORS = dict(zip(LETTERS, random.Random(3).sample(LETTERS, len(LETTERS)), strict=True))
HALVES = LETTERS[::2], LETTERS[1::2]
# pairs that follow each other are one token for the second model, so that its tokens of a text are others
PAIRS = [letter + SUCCESSORS[letter] for letter in LETTERS[:12]]
TOKENIZERS = [letters_tokenizer(1), letters_tokenizer(2, PAIRS, byte_level=False)]


BOTH_WAYS = [(0, 1), (1, 0)]


def pair(sure=0.9, unsure=((0.35, 0.2), (0.35, 0.2))):
    """Two models, each of which knows what follows half of the letters."""
    tables = [half_a_table(SUCCESSORS, HALVES[k], sure, unsure[k], seed=k) for k in range(2)]
    return [table_fusion_model(f"model {k}", TOKENIZERS[k], tables[k]) for k in range(2)]


def right(members, count=1, **settings):
    """The share of letters after which the members write `count` right ones."""
    texts = [text for _, text in written(members, list(LETTERS), count, **settings)]
    return sum(text == what_follows(letter, count) for letter, text in zip(LETTERS, texts, strict=True)) / len(LETTERS)


def what_follows(letter, count):
    """The right text after a letter."""
    text = letter
    for _ in range(count):
        text += SUCCESSORS[text[-1]]
    return text[1:]


def unsure_by(gap):
    """Probabilities of a wrong and the right letter that are so far apart in nat, and 0.7 together."""
    wrong = 0.7 / (1 + math.exp(-gap))
    return wrong, 0.7 - wrong


@pytest.mark.parametrize("order", BOTH_WAYS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mode": "tas2+mas2"},
        {"inverse": "em"},
        {"inverse": "none"},
        {"space": "union"},
        {"space": "mapped"},
    ],
)
def test_two_that_know_half_each_know_it_all_together(order, settings):
    """Each right on one half and unsure on the other: fusion beats both, whichever is main."""
    fusion_models = pair()
    assert [right([one, one], learning_rate=0.0) for one in fusion_models] == [0.5, 0.5]
    assert right([fusion_models[index] for index in order], **settings) == 1


def test_it_stays_right_over_several_tokens_that_the_other_reads_as_others():
    text = "a" + what_follows("a", 8)
    assert len(TOKENIZERS[1](text)["input_ids"]) < len(TOKENIZERS[0](text)["input_ids"]) == len(text)
    for order in BOTH_WAYS:
        fusion_models = [pair()[index] for index in order]
        assert right([fusion_models[0], fusion_models[0]], 8, learning_rate=0.0) < 0.1
        assert right(fusion_models, 8) == 1


def test_a_main_model_that_is_wrong_and_certain_is_not_talked_out_of_it():
    """The published inverse moves a logit so far and no further (specification, 1.5b); the mean has it right."""
    certain = pair(unsure=((0.85, 0.02), (0.35, 0.2)))
    assert right(certain) == 0.5, "as it does alone"
    assert right(certain[::-1]) == 1, "the one that knows when it is unsure is the better main model"
    assert right(certain, learning_rate=0.5) == 1
    assert right(certain, inverse="em", updates=20) == 1
    assert right(certain, updates=10) == 0.5


@pytest.mark.parametrize(("learning_rate", "updates"), [(0.05, 5), (0.15, 5), (0.3, 5), (0.15, 10)])
def test_the_trust_region_is_a_step_in_the_main_models_confidence(learning_rate, updates):
    """Up to about 9 learning rates (14 with 10 updates) between right and wrong, all are mended, and none beyond."""
    bound = flip_bound(learning_rate, updates)
    mended = {}
    for share in (0.2, 0.6, 0.9, 1.05, 1.3):
        fusion_models = pair(0.99, (unsure_by(share * bound), (0.35, 0.2)))
        mended[share] = 2 * right(fusion_models, learning_rate=learning_rate, updates=updates) - 1
    assert mended == {0.2: 1, 0.6: 1, 0.9: 1, 1.05: 0, 1.3: 0}


@pytest.mark.parametrize("learning_rate", [0.05, 0.15, 0.3])
@pytest.mark.parametrize("candidates", ["needed", "all"])
def test_the_flip_rate_over_random_logits_is_a_step(learning_rate, candidates):
    """An assistant that is certain of the main model's second choice, 40 steps for each gap between the first two."""
    draw = torch.Generator().manual_seed(5)
    embeddings = torch.randn(400, 64, generator=draw)
    anchors = torch.arange(300)
    rows = DenseRows.build(RowSource(embeddings, anchors))
    settings = StepSettings(learning_rate=learning_rate, candidates=candidates)
    step = FusedStep([rows, rows], torch.stack([anchors, anchors]), settings)
    shares = torch.tensor([0.3, 0.7, 0.9, 0.95, 1.001, 1.03, 1.2, 1.6]).repeat_interleave(40)
    gaps = shares * flip_bound(learning_rate, 5) / total_decay(learning_rate, 5)
    main = torch.randn(len(gaps), 400, generator=draw) - 10
    ids = torch.stack([torch.randperm(300, generator=draw)[:2] for _ in gaps])
    main.scatter_(1, ids, torch.stack([torch.zeros(len(gaps)), -gaps], 1))
    assistant = torch.full_like(main, -20).scatter_(1, ids[:, 1:], 0.0)
    flipped = step([main, assistant]).tokens == ids[:, 1]
    assert flipped.view(8, 40).float().mean(1).tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


WORDS = [f"w{number}" for number in range(1200)]
IN_TWO_ORDERS = [words_tokenizer(WORDS, seed) for seed in (1, 2)]


def leaning_model(index, cosine):
    """A model whose embeddings have this mean cosine with each other; it only takes part by its logits."""
    draw = torch.Generator().manual_seed(index)
    own, direction = (torch.randn(count, 256, generator=draw) for count in (len(IN_TWO_ORDERS[index]), 1))
    embeddings = own + direction / direction.norm() * math.sqrt(256 * cosine / (1 - cosine))
    return FusionModel(f"model {index}", IN_TWO_ORDERS[index], None, -1, embeddings, frozenset())


def mended_by_words(cosine, **settings):
    """The share of steps in which an assistant mends a main model that holds the right word second."""
    chooser = make_chooser([leaning_model(index, cosine) for index in range(2)], read_settings("here", settings, 2))
    draw = random.Random(4)
    asked = [draw.sample(WORDS, 2) for _ in range(30)]  # the wrong and the right one
    logits = [torch.full((len(asked), len(own)), math.log(0.35 / len(own))) for own in IN_TWO_ORDERS]
    for index, (wrong, gold) in enumerate(asked):
        ids = [own.convert_tokens_to_ids([wrong, gold]) for own in IN_TWO_ORDERS]
        logits[0][index, ids[0]] = torch.tensor([0.4, 0.25]).log()
        logits[1][index, ids[1][1]] = 5.0
    tokens = chooser(logits, uniform(2)).tokens.tolist()
    return (
        sum(IN_TWO_ORDERS[0].convert_ids_to_tokens(t) == gold for t, (_, gold) in zip(tokens, asked, strict=True)) / 30
    )


@pytest.mark.parametrize(("cosine", "told_apart"), [(0.0, True), (0.1, True), (0.5, False), (0.8, False)])
def test_embeddings_that_share_a_direction_are_warned_of_and_centring_cures_them(cosine, told_apart, caplog):
    """Where tokens are not told apart, what the assistant knows does not get through, and only there it is said."""
    with caplog.at_level(logging.WARNING):
        mended = mended_by_words(cosine, inverse="em")
    assert mended == (1 if told_apart else 0)
    assert caplog.text.count("subtract the mean embedding") == (0 if told_apart else 1), "once for each other model"
    assert ("model 1: model 0 recognises 0.00 of the common tokens" in caplog.text) == (not told_apart)
    caplog.clear()
    assert mended_by_words(cosine) == 1, "1,200 anchors are not too many for the published inverse"
    assert caplog.text == ""
    assert mended_by_words(cosine, inverse="em", centre=True) == mended_by_words(cosine, centre=True) == 1
    assert caplog.text == ""
