"""A member that fails follows the declared policy wherever it is asked: for prompts, weights and options."""

import copy

import pytest
import torch
from fusing import PROMPTS, alone, fusion_model, three_models, written
from transformers import GPT2Config, GPT2LMHeadModel

from swarm.errors import UserError
from swarm.members.fusion.build import make_chooser
from swarm.members.fusion.fused_decoding import FusedDecoding
from swarm.members.fusion.fusion_models import Prompt
from swarm.members.fusion.fusion_settings import FusionSettings, read_settings
from swarm.members.fusion.option_choice import choose_options
from swarm.members.fusion.perplexity import prompt_weights
from swarm.members.fusion.token_choosers import MainAlone

# the last two begin alike, with what is too much for the weak one, and so long that it is read at once
LONG = "one, two, three: " * 40
ASKED = [*PROMPTS[:4], f"{LONG}cats", f"{LONG}dogs"]
ODD = [2, 4, 5]
OPTIONS = [("the", "and", "cat", "dog")] * len(ASKED)
HOWS = ["nan", "raise", "long"]


@pytest.fixture(scope="module")
def fusion_models():
    return three_models()[:2]


def refuse(*_):
    raise RuntimeError("a kernel is missing")


def weak(one, how):
    """A real model that fails at texts with a comma, in its forward pass; or reads short prompts only."""
    comma = one.tokenizer.convert_tokens_to_ids(",")
    if how == "long":
        torch.manual_seed(1)
        config = GPT2Config(vocab_size=len(one.tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=40)
        return fusion_model("the weak one", GPT2LMHeadModel(config).eval(), one.tokenizer)
    model = copy.deepcopy(one.stepper.model)
    if how == "nan":
        model.get_input_embeddings().weight.data[comma] = torch.nan
    else:
        model.get_input_embeddings().register_forward_pre_hook(
            lambda _, ids: refuse() if (ids[0] == comma).any() else None
        )
    return fusion_model("the weak one", model, one.tokenizer)


def decoding_of(pair, healthy, **record):
    settings = read_settings("here", {"learning_rate": 0.5, "on_failure": "drop", **record}, 2)
    return FusedDecoding(pair, make_chooser(healthy, settings), settings)


def prompts_of(*texts):
    return [[Prompt(text, True) for text in texts] for _ in range(2)]


def chosen(decoding, *texts):
    return choose_options(decoding, prompts_of(*texts), OPTIONS[: len(texts)])


@pytest.mark.parametrize("how", HOWS)
def test_at_the_reading_of_prompts(fusion_models, how):
    pair = [fusion_models[0], weak(fusion_models[1], how)]
    decoding = decoding_of(pair, fusion_models)
    together = written(pair, ASKED, decoding=decoding, most=6)
    assert list(decoding.count.left_out) == ["the weak one"]
    assert together == [written(pair, [text], decoding=decoding, most=6)[0] for text in ASKED]
    by_itself = alone(fusion_models[0], ASKED, 6)
    failed = [row for row, text in enumerate(ASKED) if len(pair[1].tokenizer(text).input_ids) + 6 > 40]
    for row in failed if how == "long" else ODD:
        assert together[row][0] == by_itself[row], "from the first step on"
    if how == "long":
        assert 0 < len(failed) < len(ASKED)
    else:
        whole = written(fusion_models, ASKED, learning_rate=0.5, most=6)
        assert all(whole[row] != together[row] for row in ODD) and any(whole[row] == together[row] for row in (0, 1, 3))


@pytest.mark.parametrize("how", HOWS[:2])
@pytest.mark.parametrize("space", ["relative", "union"])
def test_at_a_choice_by_option(fusion_models, how, space):
    pair = [fusion_models[0], weak(fusion_models[1], how)]
    decoding = decoding_of(pair, fusion_models, space=space)
    found = chosen(decoding, *ASKED)
    assert decoding.count.left_out and decoding.count.fused == len(ASKED) - len(ODD)
    assert found == [chosen(decoding, text)[0] for text in ASKED]
    healthy = decoding_of(fusion_models, fusion_models, space=space)
    main = FusedDecoding(fusion_models[:1], MainAlone(), FusionSettings())
    for row, text in enumerate(ASKED):
        if row in ODD:
            [wanted] = choose_options(main, prompts_of(text)[:1], OPTIONS[:1])
        else:
            [wanted] = chosen(healthy, text)
        assert found[row] == wanted


@pytest.mark.parametrize("how", HOWS[:2])
def test_at_weights_by_perplexity(fusion_models, how):
    pair = [fusion_models[0], weak(fusion_models[1], how)]
    decoding = decoding_of(pair, fusion_models, weights="perplexity")
    policy = decoding.policy(len(ASKED))
    weights = prompt_weights(policy, prompts_of(*ASKED), decoding.settings)
    healthy = decoding_of(fusion_models, fusion_models, weights="perplexity")
    wanted = prompt_weights(healthy.policy(len(ASKED)), prompts_of(*ASKED), healthy.settings)
    wanted[ODD] = torch.tensor([1.0, 0.0])
    torch.testing.assert_close(weights, wanted)
    assert [row for row, present in enumerate(policy.present) if not present] == ODD
    answers = {one.row: list(one.ids) for one in decoding.decode(prompts_of(*ASKED), 4)}
    assert [answers[row] for row in ODD] == [alone(fusion_models[0], ASKED, 4)[row] for row in ODD]


@pytest.mark.parametrize("record", [{}, {"weights": "perplexity"}], ids=str)
@pytest.mark.parametrize("how", HOWS)
def test_without_the_policy_the_first_failure_ends_all(fusion_models, how, record):
    decoding = decoding_of([fusion_models[0], weak(fusion_models[1], how)], fusion_models, on_failure="fail", **record)
    errors = {"nan": "the weak one gives logits", "long": "a row of ", "raise": "a kernel is missing"}
    for ask in (lambda: list(decoding.decode(prompts_of(*ASKED), 6)), lambda: chosen(decoding, *ASKED)):
        with pytest.raises((UserError, RuntimeError), match=errors[how]) as failed:
            ask()
        if how == "raise":
            assert failed.value.__notes__ == ["member the weak one of a fusion has failed"]
        else:
            assert str(failed.value).startswith("member the weak one of a fusion has failed: ")
    assert not decoding.count.left_out


@pytest.mark.parametrize("record", [{}, {"weights": "perplexity"}], ids=str)
def test_without_the_main_model_there_is_no_answer(fusion_models, record):
    main = weak(fusion_models[0], "nan")
    main.stepper.model.get_input_embeddings().register_forward_pre_hook(refuse)
    pair = [main, fusion_models[1]]
    decoding = decoding_of(pair, fusion_models, **record)
    with pytest.raises(RuntimeError, match="a kernel is missing"):
        list(decoding.decode(prompts_of(*ASKED), 6))
    with pytest.raises(RuntimeError, match="a kernel is missing"):
        chosen(decoding, *ASKED)


def test_fewer_texts_may_fit_into_memory(fusion_models):
    """A batch that is too large is asked again in halves; a text that is too large alone is done without the member."""
    one = weak(fusion_models[1], "nan")

    def full(_, given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    one.stepper.model.get_input_embeddings().register_forward_pre_hook(full)
    pair = [fusion_models[0], one]
    decoding = decoding_of(pair, fusion_models)
    with pytest.raises(torch.OutOfMemoryError):
        list(decoding.decode(prompts_of(*ASKED[4:]), 4))
    assert not decoding.count.left_out
    assert written(pair, ASKED[4:5], decoding=decoding, most=4)[0][0] == alone(fusion_models[0], ASKED[4:5], 4)[0]
