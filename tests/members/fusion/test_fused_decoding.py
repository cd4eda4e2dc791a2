"""Models with different tokenizers write one text: as the plain procedure has it, and each row as alone."""

import copy
import re

import pytest
import torch
from fusing import PROMPTS, alone, fusion_model, plain_procedure, three_models, tiny_llama, written
from kinds_of_tokenizers import byte_level_bpe, real_tokenizer
from repository import ROOT

from swarm.engines.local.row_stepper import RowStepper
from swarm.errors import UserError
from swarm.members.fusion.anchors import common_anchors
from swarm.members.fusion.build import make_chooser
from swarm.members.fusion.fused_decoding import FusedDecoding
from swarm.members.fusion.fusion_settings import FIELDS, FusionSettings, read_settings, switched_off
from swarm.members.fusion.growing_text import GrowingText
from swarm.members.fusion.vocabulary import read_vocabulary

published = plain_procedure()


@pytest.fixture(scope="module")
def fusion_models():
    return three_models()


def plainly(fusion_models, settings, most=10):
    """What the plain procedure writes, in float64 behind the models' logits."""
    vocabularies = [read_vocabulary(one.tokenizer, one.name) for one in fusion_models]
    anchors = common_anchors(vocabularies, [len(one.embeddings) for one in fusion_models])
    models = [
        published.Model(one.stepper.model, one.tokenizer, published.relative_rows(one.embeddings, ids))
        for one, ids in zip(fusion_models, anchors.ids, strict=True)
    ]
    return [published.write(models, prompt, most, settings) for prompt in PROMPTS[::2]]


@pytest.mark.parametrize(
    ("mode", "order"),
    [
        ("vanilla", (0, 2)),
        ("vanilla", (0, 1)),
        ("vanilla", (1, 0)),
        ("tas", (2, 1, 0)),
        ("tas2", (0, 1, 2)),
        ("tas2+mas2", (2, 1, 0)),
    ],
)
def test_it_writes_what_the_plain_procedure_writes(fusion_models, order, mode):
    some = [fusion_models[index] for index in order]
    weights = [1 / len(some)] * len(some)
    for rate in (0.15, 0.5) if mode == "vanilla" else (0.5,):  # the other modes differ where others have a say
        plain = plainly(some, published.Settings(weights, rate, mode=mode))
        for candidates in ("all", "needed"):
            ours = written(
                some, PROMPTS[::2], mode=mode, learning_rate=rate, candidates=candidates, dropped=1e-6, most=10
            )
            assert [ids for ids, _ in ours] == plain, candidates
    assert plain != alone(some[0], PROMPTS[::2]), "the others have a say"


def test_weights_count(fusion_models):
    pair = fusion_models[:2]
    plain = plainly(pair, published.Settings([0.2, 0.8], 0.5))
    ours = written(pair, PROMPTS[::2], weights=[0.2, 0.8], learning_rate=0.5, dropped=1e-6)
    assert [ids for ids, _ in ours] == plain
    assert [ids for ids, _ in written(pair, weights=[1.0, 0.0], learning_rate=0.15)] == alone(pair[0])


WAYS = [
    {},
    {"space": "union"},
    {"space": "mapped"},
    {"inverse": "em"},
    {"inverse": "none"},
    {"consistency": "rbf"},
    {"rows": "lazy"},
    {"gate": 0.3},
    {"eos": "shared"},
]


@pytest.mark.parametrize("record", WAYS)
def test_every_row_is_as_alone(fusion_models, record):
    """In every space; some rows end before others, and prompts differ in length."""
    record = {"learning_rate": 0.5} | record
    together = written(fusion_models, **record)
    settings = read_settings("here", record, 3)
    decoding = FusedDecoding(fusion_models, make_chooser(fusion_models, settings), settings)
    assert together == [written(fusion_models, [prompt], decoding=decoding)[0] for prompt in PROMPTS]
    assert [ids for ids, _ in together] != alone(fusion_models[0]), "not vacuous"


def test_a_model_with_itself_changes_nothing_while_it_reads_the_same(fusion_models):
    """Text that is read again can be cut into other tokens than those that were written."""
    one = fusion_models[0]
    twin, tokenizer = fusion_model("twin", one.stepper.model, one.tokenizer), one.tokenizer
    compared = 0
    for record in ({}, {"inverse": "em", "updates": 20}):
        for prompt, (ids, _), by_itself in zip(PROMPTS, written([one, twin], **record), alone(one), strict=True):
            begun = tokenizer(prompt)["input_ids"]
            for length in range(len(ids)):
                if tokenizer(published.decoded(tokenizer, [*begun, *ids[:length]]))["input_ids"] != [
                    *begun,
                    *ids[:length],
                ]:
                    break
                assert ids[length] == by_itself[length]
                compared += 1
    assert compared > 20


def test_texts_stay_in_step(fusion_models):
    """What the assistants have read in the end is what encoding all of the text gives."""
    some = [fusion_models[1], fusion_models[0], fusion_models[2]]
    settings = read_settings("here", {"learning_rate": 0.5}, 3)
    chooser = make_chooser(some, settings)
    seen = []

    class Spy:
        def __call__(self, logits, weights):
            first = [0, 0, 0]
            seen.append([one.stepper.tokens(first[index]) for index, one in enumerate(some)])
            return chooser(logits, weights)

    for prompt in PROMPTS:
        seen.clear()
        written(some, [prompt], 12, decoding=FusedDecoding(some, Spy(), settings))
        main = seen[-1][0]
        begun = some[0].tokenizer(prompt)["input_ids"]
        text = GrowingText(some[0].tokenizer, begun)
        for token in main[len(begun) :]:
            text.append(token)
        for one, ids in zip(some[1:], seen[-1][1:], strict=True):
            assert ids == one.tokenizer(prompt + text.text)["input_ids"]


def test_it_ends_at_a_stop_text_and_where_the_main_model_ends(fusion_models):
    pair = fusion_models[:2]
    text = written(pair, most=20)[0][1]
    stop = text[4:6]
    ids, stopped = written(pair, most=20, stop=[stop, "never"])[0]
    assert stopped == text[: text.index(stop)] and len(ids) < 20
    for ids, _ in written(pair, PROMPTS[:2], most=60):
        assert len(ids) == 60 or ids[-1] == pair[0].tokenizer.eos_token_id
        assert pair[0].tokenizer.eos_token_id not in ids[:-1]


def test_the_gate_asks_the_others_only_where_main_is_unsure(fusion_models):
    pair = fusion_models[:2]
    counts = []
    for gate in (2.0, 0.5, 1e-9):
        settings = read_settings("here", {"learning_rate": 0.5, "gate": gate}, 2)
        decoding = FusedDecoding(pair, make_chooser(pair, settings), settings)
        ids = [ids for ids, _ in written(pair, decoding=decoding)]
        counts.append(decoding.count.fused)
    assert counts[0] > counts[1] > counts[2] == 0
    assert ids == alone(pair[0])


class Broken:
    """A stepper that fails after some calls."""

    def __init__(self, stepper, calls, how):
        self._stepper, self._calls, self._how = stepper, calls, how

    def __getattr__(self, name):
        return getattr(self._stepper, name)

    def logits(self, rows):
        self._calls -= 1
        logits = self._stepper.logits(rows)
        if self._calls >= 0:
            return logits
        if self._how == "nan":
            return torch.full_like(logits, torch.nan)
        raise UserError("it does not fit")


@pytest.mark.parametrize("how", ["nan", "raise"])
def test_a_member_that_fails_is_left_out_or_ends_all(fusion_models, how, caplog):
    def broken(calls):
        one = fusion_models[1]
        return fusion_model("the weak one", one.stepper.model, one.tokenizer, Broken(one.stepper, calls, how))

    with pytest.raises(
        UserError, match="member the weak one of a fusion has failed: (the weak one gives logits|it does not fit)"
    ):
        written([fusion_models[0], broken(3)])
    record = {"learning_rate": 0.5, "on_failure": "drop"}
    settings = read_settings("here", record, 2)
    pair = [fusion_models[0], broken(0)]
    decoding = FusedDecoding(pair, make_chooser(pair, settings), settings)
    assert [ids for ids, _ in written(pair, decoding=decoding)] == alone(fusion_models[0]), "from the first step on"
    assert list(decoding.count.left_out) == ["the weak one"]
    trio = [ids for ids, _ in written([fusion_models[0], broken(0), fusion_models[2]], **record)]
    assert trio != alone(fusion_models[0]), "the third still has a say"


@pytest.mark.parametrize("how", ["nan", "long"])
def test_a_member_that_fails_at_one_text_goes_on_with_the_others(fusion_models, how, monkeypatch):
    """Every row is still as alone: the one that has lost it, and those beside it."""
    other, odd = fusion_models[1], 2
    model = copy.deepcopy(other.stepper.model)
    pair = [fusion_models[0], fusion_model("the weak one", model, other.tokenizer)]
    settings = read_settings("here", {"learning_rate": 0.5, "on_failure": "drop"}, 2)
    decoding = FusedDecoding(pair, make_chooser(fusion_models[:2], settings), settings)
    whole = written(pair, decoding=decoding)
    comma, replace = other.tokenizer.convert_tokens_to_ids(","), pair[1].stepper.replace
    assert [comma in other.tokenizer(prompt).input_ids for prompt in PROMPTS].index(True) == odd

    def without_commas(row, tokens):
        if comma in tokens:
            raise UserError("the row is too long")
        replace(row, tokens)

    if how == "long":
        monkeypatch.setattr(pair[1].stepper, "replace", without_commas)
    else:
        model.get_input_embeddings().weight.data[comma] = torch.nan
    together = written(pair, decoding=decoding)
    assert together == [written(pair, [prompt], decoding=decoding)[0] for prompt in PROMPTS]
    assert together[odd] != whole[odd] and (how == "long" or together[odd][0] == alone(fusion_models[0])[odd])
    assert any(one == before for one, before in zip(together, whole, strict=True)), "who writes no comma"


def test_a_fusion_that_is_off_counts_no_token_as_fused(fusion_models):
    counts = []
    for rate in (0.0, 0.15):
        settings = read_settings("here", {"learning_rate": rate, "most": 20}, 2)
        decoding = FusedDecoding(fusion_models[:2], make_chooser(fusion_models[:2], settings), settings)
        written(fusion_models[:2], decoding=decoding)
        counts.append(decoding.count)
    off, on = counts
    assert off.tokens > 0 and off.fused == 0 and off.dropped == 0, "nothing was left out where one chooses alone"
    assert on.fused > 0 and on.dropped > 0


@pytest.mark.parametrize("space", ["relative", "union", "mapped"])
def test_a_main_model_without_numbers_ends_all(fusion_models, space):
    one = fusion_models[0]
    main = fusion_model("the first", one.stepper.model, one.tokenizer, Broken(one.stepper, 2, "nan"))
    with pytest.raises(UserError, match="the first gives logits that are not numbers: use a wider"):
        written([main, fusion_models[1]], space=space, on_failure="drop")


@pytest.mark.parametrize("space", ["union", "mapped"])
def test_without_the_only_member_of_weight_the_others_count(fusion_models, space):
    one = fusion_models[1]
    gone = fusion_model("gone", one.stepper.model, one.tokenizer, Broken(one.stepper, 0, "raise"))
    trio = [fusion_models[0], gone, fusion_models[2]]
    found = written(trio, weights=[0.0, 1.0, 0.0], space=space, learning_rate=0.5, on_failure="drop")
    assert found == written([fusion_models[0], fusion_models[2]], space=space, learning_rate=0.5)


def test_models_that_are_stepped_row_by_row_take_part(fusion_models):
    """As encoder-decoders and ALiBi models are."""
    other = fusion_models[1]
    single = fusion_model("one by one", other.stepper.model, other.tokenizer, RowStepper(other.stepper.model))
    assert written([fusion_models[0], single], learning_rate=0.5) == written(fusion_models[:2], learning_rate=0.5)


def test_an_encoder_decoder_takes_part(fusion_models):
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(3)
    tokenizer = byte_level_bpe()
    end = tokenizer.eos_token_id
    sizes = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4, "initializer_factor": 2.0}
    config = T5Config(
        vocab_size=len(tokenizer), decoder_start_token_id=end, eos_token_id=end, pad_token_id=end, **sizes
    )
    translator = fusion_model("translator", T5ForConditionalGeneration(config).eval(), tokenizer)
    assert translator.stepper.separate_prompt
    together = written([fusion_models[0], translator], learning_rate=0.5)
    assert [ids for ids, _ in together] != alone(fusion_models[0])
    assert together == [written([fusion_models[0], translator], [prompt], learning_rate=0.5)[0] for prompt in PROMPTS]
    written([translator, fusion_models[0]], learning_rate=0.5)


def test_the_published_bridge_differs_only_where_pieces_are_not_text(fusion_models):
    exact, legacy = (written(fusion_models[:2], learning_rate=0.5, bridge=bridge) for bridge in ("exact", "legacy"))
    plain = [
        all(token.isalnum() for token in fusion_models[0].tokenizer.convert_ids_to_tokens(ids)) for ids, _ in exact
    ]
    for same, one, other in zip(plain, exact, legacy, strict=True):
        assert not same or one[0] == other[0]


def test_two_real_tokenizers():
    pair = [
        fusion_model(name, tiny_llama(real_tokenizer(name), 0, 32), real_tokenizer(name)) for name in ("llama2", "gpt2")
    ]
    settings = read_settings("here", {"learning_rate": 0.5}, 2)
    decoding = FusedDecoding(pair, make_chooser(pair, settings), settings)
    together = written(pair, PROMPTS[:2], 4, decoding=decoding)
    assert together == [written(pair, [prompt], 4, decoding=decoding)[0] for prompt in PROMPTS[:2]]


def test_settings_that_cannot_be(fusion_models):
    for record, message in (
        ({"mode": "best"}, "mode 'best' is none of vanilla, tas"),
        ({"space": "flat"}, "space is 'flat'; wanted one of: relative, union, mapped"),
        ({"weights": [1, 2]}, "here: 3 members need 3 weights, got 2"),
        ({"weights": "best"}, "weights is 'best'; wanted one of: uniform, perplexity, or a list of 3 numbers"),
        ({"weights": [1, -1, 1]}, "weights must be numbers of at least 0"),
        ({"anchors": "random"}, "anchors 'random' asks for anchor_count"),
        ({"rate": 1}, "has the field 'rate'; wanted of: anchor_count, "),
        ({"learning_rate": "0.15"}, "learning_rate is '0.15'; wanted float or int"),
        ({"centre": 1}, "centre is 1; wanted bool"),
        ({"top": True}, "top is True; wanted int"),
        ({"gate": 0}, "gate is 0; wanted more than 0"),
        ({"stop": [""]}, "stop holds an empty text"),
        ({"stop": "."}, "stop is '.'; wanted a list of texts"),
    ):
        with pytest.raises(UserError, match=message):
            read_settings("here", record, 3)
    assert switched_off(read_settings("here", {"learning_rate": 0}, 3)).startswith("learning_rate is 0, which turns")
    assert switched_off(read_settings("here", {"updates": 0, "inverse": "em"}, 3)).startswith("updates is 0")
    assert switched_off(read_settings("here", {"learning_rate": 0, "inverse": "em"}, 3)) is None


def test_every_setting_is_told_with_its_default():
    page = (ROOT / "docs" / "fusion.md").read_text(encoding="utf8")
    table = [
        line.split("|")[1:3] for line in page.split("## Settings")[1].split("\n## ")[0].splitlines() if "| `" in line
    ]
    told = {name: default for names, default in table for name in re.findall(r"`(\w+)`", names)}
    assert set(FIELDS) == set(told)
    defaults = FusionSettings()
    for name, cell in told.items():
        value = getattr(defaults.step if hasattr(defaults.step, name) else defaults, name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert f"{value:g}".lstrip("0") in cell, name
        elif isinstance(value, str) and value:
            assert f"`{value}`" in cell, name
