"""Guards the warnings about data: they are said where they are true, with true counts, and nowhere else."""

import logging

import pytest
from repository import SHARED

from swarm.data.example import Dataset, Example
from swarm.data.faults import mend_and_warn
from swarm.data.load import load_dataset
from swarm.data.source import Source

TEST = (Example("t", "1"),)


def said(caplog: pytest.LogCaptureFixture, dataset: Dataset, mend: bool = False) -> tuple[Dataset, list[str]]:
    with caplog.at_level(logging.WARNING, logger="swarm"):
        mended = mend_and_warn(dataset, mend)
    return mended, [record.getMessage() for record in caplog.records]


def test_sound_data_is_passed_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    dev = (Example("a", "1"), Example("b", "2"), Example("c", "3", "7"))
    sound = Dataset("mine", dev, (Example("d", r"1\n2", "7", choices={"A": r"x\n"}),))
    assert said(caplog, sound, mend=True) == (sound, []), "ids are per split, and no id is no duplicate"


def test_ids_that_are_shared_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    dev = tuple(Example(f"q{k}", "1", identity) for k, identity in enumerate(["0", "0", "1", "2", "2", "2"]))
    _, [message] = said(caplog, Dataset("mine", dev, TEST))
    assert message.startswith("mine: 5 dev records share their id with another; ")


def test_questions_of_dev_in_test_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    dev = (Example("a", "1"), Example("b", "2"))
    _, [message] = said(caplog, Dataset("mine", dev, (Example("a", "1"), Example("a", "3"), *TEST)))
    assert message == (
        "mine: 2 of 3 test records have a question text that is in dev too (1 distinct texts), 1 of them with the "
        "right answer from there"
    )
    caplog.clear()
    choose = [Example("a", "A", choices={"A": x, "B": y}) for x, y in ("xy", "yx", "xz")]
    _, [message] = said(caplog, Dataset("mine", (choose[0],), tuple(choose[1:])))
    assert message.endswith("1 of them with the right answer from there; their choices may differ")


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (r"one\nTwo", "one\nTwo"),
        (r"one\n\nTwo\n", "one\n\nTwo\n"),
        (r"one\n two \n2", "one\n two \n2"),
        (r"$a \neq b$\n(x)", "$a \\neq b$\n(x)"),
    ],
)
def test_a_literal_backslash_n_is_mended_on_request(caplog: pytest.LogCaptureFixture, text: str, mended: str) -> None:
    dataset = Dataset("mine", (Example(text, text, choices={"A": text}, chunks=("", text)),), TEST)
    same, messages = said(caplog, dataset)
    assert same == dataset and messages[0].startswith("mine: 1 dev records have a literal backslash-n ")
    assert messages[0].endswith("which stays as it is; without --compat they become line breaks")
    caplog.clear()
    better, messages = said(caplog, dataset, mend=True)
    assert better.dev[0] == Example(mended, text, choices={"A": text}, chunks=("", mended))
    assert messages[0].endswith("made line breaks now")


def test_a_command_of_latex_is_no_lost_line_break(caplog: pytest.LogCaptureFixture) -> None:
    latex = Dataset("mine", (Example(r"Is $\nu \neq \nabla$?", "no"),), TEST)
    assert said(caplog, latex, mend=True) == (latex, [])


def test_the_warnings_about_the_published_files_are_true(caplog: pytest.LogCaptureFixture) -> None:
    if not (SHARED / "data" / "eval" / "qasper.json").exists():
        pytest.skip("the published data files are not here")
    with caplog.at_level(logging.WARNING, logger="swarm"):
        for name in ("gaia", "gsm8k", "knowledge_crosswords", "mmlu", "nlgraph", "qasper"):
            load_dataset(Source(name, str(SHARED / "data" / "eval")))
    messages = [record.getMessage() for record in caplog.records]
    assert [message.partition(";")[0] for message in messages] == [
        "gsm8k: 200 dev records share their id with another",
        "knowledge_crosswords: 32 dev and 594 test records share their id with another",
        "knowledge_crosswords: 149 of 1000 test records have a question text that is in dev too (120 "
        "distinct texts), 149 of them with the right answer from there",
        "qasper: 3 of 100 test records have a question text that is in dev too (3 distinct texts), 0 of them with "
        "the right answer from there",
    ]
