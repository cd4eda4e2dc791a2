"""The published flags, checked before anything is loaded."""

import argparse
import logging
from pathlib import Path

import pytest

from swarm.errors import UserError
from swarm.programs.deepen.flags import MODES, PROCESSORS, add_flags, check_flags, checked_weights


def parsed(words):
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    add_flags(parser)
    return parser.parse_args(words.split())


def test_the_published_command_line():
    given = parsed(
        "--config confs/NQ/x.json -lpm based_on_probility_transfer_logits_fp32_processor -d0 cuda:0 -d1 cuda:0 "
        "-d2 cuda:0 -d3 cuda:1 -dp cuda:1 -rsd ./res -rm test -lr 0.15 -ew 0.25 0.25 0.25 0.25"
    )
    flags = check_flags(given, 4)
    assert (flags.learning_rate, flags.updates, flags.results, flags.split) == (0.15, 5, Path("res"), "test")
    assert (flags.processor, flags.device, flags.mode) == ("fused", "cuda:1", "vanilla")
    assert flags.devices == ("cuda:0", "cuda:0", "cuda:0", "cuda:1") and flags.weights == (0.25,) * 4
    assert flags.fuses


def test_the_defaults_are_the_published_ones_and_say_that_nothing_is_fused(caplog):
    flags = check_flags(parsed(""), 2)
    assert (flags.learning_rate, flags.updates, flags.results, flags.split) == (0.0, 5, Path("."), "dev")
    assert flags.weights == (0.5, 0.5) and flags.devices == (None, None) and not flags.fuses
    assert "-lr 0 turns the fusion off" in caplog.text
    caplog.clear()
    assert not check_flags(parsed("-lr 0.15 -len 0"), 2).fuses and "-len 0 turns the fusion off" in caplog.text
    caplog.clear()
    assert not check_flags(parsed(""), 1).fuses and not caplog.records, "a model alone has nothing to turn off"


def test_processors_by_published_names_in_any_case_and_by_ours():
    for name, what in PROCESSORS.items():
        assert check_flags(parsed(f"-lpm {name.upper()} -lr 1"), 2).processor == what
        assert check_flags(parsed(f"-lpm {what} -lr 1"), 2).processor == what


def test_every_mode_is_taken():
    for mode in MODES:
        assert check_flags(parsed(f"-em {mode} -lr 1"), 2).mode == mode


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "-lpm based_on_probility_transfer_logits_local_processor",
            "wanted one of fused, digit_vote, choice, ",
        ),
        ("-em tas4", "-em is 'tas4'; wanted one of vanilla, tas, tas2, tas2+mas2, tas+mas"),
        ("-rm train", "-rm is 'train'; wanted one of dev, test"),
        ("-lr -0.1", "-lr is -0.1"),
        ("-lr nan", "-lr is nan"),
        ("-len -1", "-len is -1"),
        ("-dp gpu", "-dp is 'gpu'; wanted a device"),
        ("-d1 cuda:x", "-d1 is 'cuda:x'"),
        ("-ew 0.5", "-ew has 1 weights (0.5); wanted 2"),
        ("-ew 0.5 0.25 0.25", "-ew has 3 weights (0.5 0.25 0.25); wanted 2"),
        ("-ew 0 0", "not all 0"),
        ("-ew nan 1", "wanted weights from 0 on"),
    ],
)
def test_what_cannot_be_used_is_said_with_what_there_is(words, said):
    with pytest.raises(UserError) as error:
        check_flags(parsed(words), 2)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_weights_are_normalised_and_zeros_allowed(caplog):
    with caplog.at_level(logging.INFO):
        assert checked_weights([0.7, 0.2, 0.1], 3) == pytest.approx((0.7, 0.2, 0.1), abs=1e-12)
        assert checked_weights([1.0, 0.0], 2) == (1.0, 0.0)
        assert checked_weights([1.0], 1) == (1.0,) and checked_weights([1.0], 4) == (0.25,) * 4
        assert not caplog.records
        assert checked_weights([3, 1], 2) == (0.75, 0.25)
    assert "-ew 3 1 has the sum 4" in caplog.text
    with pytest.raises(UserError, match="from 0 on"):
        checked_weights([1.5, -0.5], 2)
