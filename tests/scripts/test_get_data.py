"""The program that brings the published datasets, against a GitHub and a hub of our own on the loopback interface."""

import hashlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from loopback_hub import Hub, serving
from repository import ROOT

from swarm.data.load import load_dataset
from swarm.data.published import COMMIT, PUBLISHED, SHA256

PROGRAM = str(ROOT / "scripts" / "get_data.py")
SHARED = Path(os.environ.get("H_SWARM_SHARED") or ROOT.parent / "shared") / "data" / "eval"
PUBLISHED_GSM8K = SHA256["gsm8k"]  # before the tests put a file of their own in its place
LIST = f"repos/BunsenFeng/heterogeneous_swarm/contents/data/eval?ref={COMMIT}"


def a_file(name: str) -> bytes:
    """A dataset unlike any other."""
    record = {"question": f"who is {name}?", "answer": "ü"}
    return json.dumps({"dataset": name, "dev": [record], "test": [record, record]}, ensure_ascii=False).encode()


def listed(name: str, content: bytes) -> dict[str, Any]:
    """What GitHub's API says of a file, with the hash that git gives it."""
    sha = subprocess.run(["git", "hash-object", "--stdin"], input=content, capture_output=True, check=True).stdout
    return {"name": f"{name}.json", "size": len(content), "sha": sha.decode().strip()}


@dataclass
class GitHub(Hub):
    """The raw files and the list of one folder at one commit."""

    files: dict[str, bytes] = field(default_factory=dict)
    list: Any = None

    def answer(self, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        self.asked += 1
        if path.strip("/") == LIST:
            return (200, {}, json.dumps(self.list).encode()) if self.list is not None else (403, {}, b"{}")
        name = path.strip("/").removeprefix(f"BunsenFeng/heterogeneous_swarm/{COMMIT}/data/eval/")
        return (200, {}, self.files[name]) if name in self.files else (404, {}, b"")


@pytest.fixture
def github() -> Iterator[GitHub]:
    """A GitHub that has ltp, com2 and gsm8k."""
    files = {f"{name}.json": a_file(name) for name in ("ltp", "com2", "gsm8k")}
    with serving(GitHub(files=files, list=[listed(name, a_file(name)) for name in ("ltp", "com2")])) as github:
        yield github


@pytest.fixture
def get_data(github: GitHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The program, to be called in this process, with its servers here and a gsm8k of ours as the one that it knows."""
    monkeypatch.setenv("H_SWARM_GITHUB_FILES", github.url)
    monkeypatch.setenv("H_SWARM_GITHUB_API", github.url + "/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setitem(SHA256, "gsm8k", hashlib.sha256(a_file("gsm8k")).hexdigest())
    monkeypatch.chdir(tmp_path)
    return importlib.reload(importlib.import_module("swarm.programs.data.get_data"))  # it reads the servers' addresses


def test_brings_checked_files_and_then_leaves_them_alone(get_data, github, tmp_path, capsys) -> None:
    assert get_data.get_program(["ltp", "gsm8k"]) == 0
    lines = capsys.readouterr().out.splitlines()
    digest = hashlib.sha256(a_file("ltp")).hexdigest()
    assert lines[0] == f"ltp: data/eval/ltp.json: 1 dev, 2 test; as GitHub lists it, SHA-256 {digest}"
    assert lines[1] == "gsm8k: data/eval/gsm8k.json: 1 dev, 2 test; SHA-256 as known"
    folder = tmp_path / "data" / "eval"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "ltp.json": a_file("ltp"), "gsm8k.json": a_file("gsm8k"),
    }  # fmt: skip
    asked, before = github.asked, (folder / "gsm8k.json").stat()
    assert get_data.get_program(["gsm8k"]) == 0 and github.asked == asked
    assert get_data.get_program(["ltp"]) == 0 and github.asked == asked, "the list was asked for already"
    assert capsys.readouterr().out.count("is there and right") == 2
    assert (folder / "gsm8k.json").stat() == before


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("gsm8k", {"files": {"gsm8k.json": a_file("other")}}, "gsm8k.json has SHA-256 "),
        ("ltp", {"files": {"ltp.json": a_file("other")}}, "as GitHub lists it; get it anew"),
        ("ltp", {"cut_off": {"ltp.json"}}, "cannot be fetched (IncompleteRead"),
        ("ltp", {"files": {}}, "answered with error 404; "),
        ("ltp", {"list": None}, "answered with error 403; GitHub limits how much one may ask in an hour; "),
        ("ltp", {"list": {"message": "no"}}, "did not send a list of files; "),
        ("ltp", {"list": []}, f"GitHub lists no ltp.json at {COMMIT[:12]}; "),
        ("com2", {"files": {"com2.json": b"{}"}, "list": [listed("com2", b"{}")]}, "com2.json: no dev split, wanted "),
    ],
)
def test_what_is_not_the_file_is_not_written(get_data, github, tmp_path, capsys, name, change, said) -> None:
    for key, value in change.items():
        setattr(github, key, value)
    assert get_data.get_program([name]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"missing: {name}: ") and said in line
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_one_that_fails_stops_no_other(get_data, capsys) -> None:
    assert get_data.get_program(["wow", "ltp"]) == 2
    heard = capsys.readouterr()
    assert heard.err.startswith("missing: wow: ") and heard.out.startswith("ltp: ")


def test_a_file_of_the_users_own_is_not_written_over(get_data, tmp_path, capsys) -> None:
    own = tmp_path / "data" / "eval" / "ltp.json"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    assert get_data.get_program(["ltp"]) == 2 and own.read_text() == "mine"
    assert "is not the file that is asked for; move it away, say --replace" in capsys.readouterr().err
    assert get_data.get_program(["ltp", "--replace"]) == 0 and own.read_bytes() == a_file("ltp")


def test_files_are_taken_from_a_folder_without_asking_anybody(get_data, github, tmp_path, capsys) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    for name in ("ltp", "gsm8k"):
        (folder / f"{name}.json").write_bytes(a_file(name))
    (folder / "mmlu.json").write_bytes(a_file("not the published one"))
    assert get_data.get_program(["ltp", "gsm8k", "mmlu", "nlgraph", "--from", str(folder), "--to", "here"]) == 2
    heard = capsys.readouterr()
    assert "no checksum is known to compare with" in heard.out.splitlines()[0]
    assert heard.out.splitlines()[1].endswith("SHA-256 as known")
    wrong, absent = heard.err.splitlines()
    assert f"wanted {SHA256['mmlu']}; it is not the published file" in wrong
    assert absent.startswith(f"missing: nlgraph: {folder}/nlgraph.json cannot be read (No such file")
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"ltp.json", "gsm8k.json"}
    assert github.asked == 0
    assert get_data.get_program(["ltp", "--from", str(folder), "--to", "here"]) == 0
    assert "is there and right" in capsys.readouterr().out


def test_an_interruption_leaves_nothing_half(github: GitHub, tmp_path: Path) -> None:
    asked, answered = threading.Event(), threading.Event()
    github.answer = lambda *_: (asked.set(), answered.wait(60), (200, {}, b""))[2]  # type: ignore[method-assign]
    environment = os.environ | {"H_SWARM_GITHUB_FILES": github.url, "PYTHONPATH": str(ROOT), "no_proxy": "127.0.0.1"}
    running = subprocess.Popen(
        [sys.executable, PROGRAM, "ltp"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert asked.wait(60)
    running.send_signal(signal.SIGINT)
    heard = running.communicate(timeout=60)[1]
    answered.set()
    assert running.returncode == 130 and heard.startswith("interrupted; ") and "Traceback" not in heard
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give names or --all"),
        (["ltp", "--all"], "give names or --all"),
        (["nobody"], "there are mmlu_pro, "),
        (["mix-instruct"], "with --hub mix-instruct"),
        (["ltp", "--hub"], "there are gsm8k, mmlu, mmlu_pro, qasper, mix-instruct"),
        (["gsm8k", "--hub", "--from", "x"], "give one of them"),
    ],
)
def test_a_command_line_that_cannot_be_meant(get_data, capsys, arguments, said) -> None:
    with pytest.raises(SystemExit) as left:
        get_data.get_program(arguments)
    assert left.value.code == 2 and said in capsys.readouterr().err


def test_the_published_files_are_taken_from_a_folder(get_data, monkeypatch, tmp_path, capsys) -> None:
    if not (SHARED / "qasper.json").exists():
        pytest.skip("the published data files are not here")
    monkeypatch.setitem(SHA256, "gsm8k", PUBLISHED_GSM8K)
    assert get_data.get_program([*SHA256, "--from", str(SHARED), "--to", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("SHA-256 as known") == 6
    for name in SHA256:
        assert (tmp_path / f"{name}.json").read_bytes() == (SHARED / f"{name}.json").read_bytes()
    assert set(SHA256) < set(PUBLISHED) and len(set(PUBLISHED)) == 12


def parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


def card(config: str, **splits: str) -> bytes:
    """The card of a set with one configuration."""
    files = "".join(f"  - split: {split}\n    path: {path}\n" for split, path in splits.items())
    return f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{files}---\n".encode()


def paper(number: int) -> dict[str, Any]:
    """A paper with four questions, one of which has no answer, nested as the hub's copy nests them."""
    text = {"section_name": ["Start", "End ::: Last"], "paragraphs": [["One. Two. " * 9, "Three."], ["Four. " * 9]]}
    usual = {"unanswerable": False, "yes_no": None, "free_form_answer": "", "extractive_spans": []}
    answers = [
        usual | {"unanswerable": True}, usual | {"yes_no": False}, usual | {"extractive_spans": ["a", "b"]}, usual,
    ]  # fmt: skip
    questions = {
        "question": ["u?", "n?", "s?", "none?"],
        "question_id": [f"{number}{letter}" for letter in "unsx"],
        "answers": [{"answer": [answer], "worker_id": ["w"]} for answer in answers],
    }
    return {"title": "never shown", "full_text": text, "qas": questions}


def public_sets() -> dict[str, dict[str, bytes]]:
    """Small stand-ins of the public sets, in their shapes."""
    sums = [{"question": f"{k}?", "answer": f"so <<1>>\n#### {k},000"} for k in range(1001)]
    choose = [{"question": f"{k}?", "subject": "law", "choices": list("wxyz"), "answer": k % 4} for k in range(1201)]
    about = {"options": list("qrstuvwxyz"), "answer": "J", "answer_index": 9, "category": "law"}
    pro = [{"question_id": k, "question": f"{k}?", **about} for k in range(1001)]
    mixed = [
        {"id": "a/1", "candidates": [{"scores": {"bleu": 1.50}}]},
        {"id": "a/2", "cmp_results": None, "input": "\u2028"},
    ]
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in mixed)
    papers = parquet([paper(number) for number in range(40)])
    return {
        "datasets/openai/gsm8k": {
            "README.md": card("main", train="main/train-*", test="main/test-*"),
            "main/train-0.parquet": parquet(sums[:300]),
            "main/test-0.parquet": parquet(sums),
        },
        "datasets/cais/mmlu": {"README.md": card("all", test="all/test-*"), "all/test-0.parquet": parquet(choose)},
        "datasets/TIGER-Lab/MMLU-Pro": {
            "README.md": card("default", validation="data/validation-*", test="data/test-*"),
            "data/validation-0.parquet": parquet(pro[:70]),
            "data/test-0.parquet": parquet(pro),
        },
        "datasets/allenai/qasper": {
            f"qasper/{split}/0000.parquet": papers for split in ("train", "validation", "test")
        },
        "datasets/llm-blender/mix-instruct": {
            f"{split}_data_prepared.jsonl": lines for split in ("train", "val", "test")
        },
    }  # fmt: skip


def test_sets_of_the_hub_in_the_published_shapes(tmp_path: Path) -> None:
    with serving(Hub(public_sets())) as hub:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        kept |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        kept |= {"no_proxy": "127.0.0.1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, PROGRAM, "gsm8k", "mmlu", "mmlu_pro", "qasper", "mix-instruct", "--hub"]
        done = subprocess.run(command, env=kept, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    sets = {name: load_dataset(name, tmp_path / "data" / "eval") for name in ("gsm8k", "mmlu", "mmlu_pro", "qasper")}
    sizes = {name: (len(dataset.dev), len(dataset.test)) for name, dataset in sets.items()}
    assert sizes == {"gsm8k": (200, 1000), "mmlu": (200, 1000), "mmlu_pro": (70, 1000), "qasper": (100, 100)}
    first = sets["gsm8k"].test[0]
    assert (first.question, first.answer, first.domain) == (f"{first.id}?", f"{first.id}000", "gsm8k")
    assert not {e.id for e in sets["mmlu"].dev} & {e.id for e in sets["mmlu"].test}
    assert all(e.answer == "ABCD"[int(e.id) % 4] and e.domain == "law" for e in sets["mmlu"].test)
    assert sets["mmlu_pro"].dev[0].choices["J"] == "z" and sets["mmlu_pro"].dev[0].answer == "J"
    asked = {(e.question, e.answer) for e in sets["qasper"].dev}
    assert asked == {("Question: u?", "Unanswerable"), ("Question: n?", "No"), ("Question: s?", "a, b")}
    chunks = sets["qasper"].test[0].chunks
    assert len(chunks) == 10 and chunks[0].startswith("Start One. ") and "End ::: Last Four." in " ".join(chunks)
    mixed = tmp_path / "data" / "mix_instruct"
    assert sorted(path.name for path in mixed.iterdir()) == ["test.jsonl", "train.jsonl", "validation.jsonl"]
    original = public_sets()["datasets/llm-blender/mix-instruct"]["val_data_prepared.jsonl"]
    assert (mixed / "validation.jsonl").read_bytes() == original
    assert "mix-instruct: data/mix_instruct: 2 train, 2 validation, 2 test" in done.stdout
