"""The program that brings the published experts, against a small hub of our own on the loopback interface."""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_hub import Hub, serving
from repository import ROOT

PROGRAM = ROOT / "initial_experts" / "initial_experts.py"
NAMES = "code_alpaca cot flan_v2 gemini_alpaca lima oasst1 open_orca science sharegpt wizardlm".split()


def safetensors_bytes(numbers: int = 16) -> bytes:
    """A file with one float32 tensor."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * numbers)


def repository() -> dict[str, bytes]:
    """The files of a published expert, with some that must stay where they are."""
    return {
        "adapter_config.json": b'{"peft_type": "LORA", "base_model_name_or_path": "google/gemma-7b-it"}',
        "adapter_model.safetensors": safetensors_bytes(),
        "tokenizer.json": b"{}",
        "README.md": b"not wanted",
        "training_args.bin": b"not wanted",
        "modeling_evil.py": b"not wanted",
        "checkpoint-9/adapter_model.safetensors": b"not wanted",
    }


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub with all ten experts."""
    with serving(Hub({f"bunsenfeng/{name}": repository() for name in NAMES})) as hub:
        yield hub


def run(hub_url: str, to: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the program as a user would, with caches of its own and without the user's token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    kept |= {"HF_ENDPOINT": hub_url, "HF_HOME": str(to / "home"), "HF_HUB_DISABLE_XET": "1", "no_proxy": "127.0.0.1"}
    command = [sys.executable, str(PROGRAM), "--to", str(to / "experts"), *arguments]
    return subprocess.run(
        command, env=kept | environment, cwd=to, capture_output=True, text=True, timeout=120, check=False
    )


def test_brings_all_ten_and_then_asks_the_hub_no_more(hub: Hub, tmp_path: Path) -> None:
    done = run(hub.url, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "10 of 10 experts" in done.stdout and "google/gemma-7b-it, is gated" in done.stdout
    assert "hf auth login" in done.stdout
    for name in NAMES:
        folder = tmp_path / "experts" / name
        here = {path.name for path in folder.iterdir() if path.is_file()}
        assert here == {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"}
        assert not (folder / "checkpoint-9").exists()
    asked = hub.asked
    again = run(hub.url, tmp_path)
    assert again.returncode == 0 and again.stdout.count("complete already") == 10
    assert hub.asked == asked


def test_goes_on_where_it_was_cut_off(hub: Hub, tmp_path: Path) -> None:
    """The weights break off; the next start fetches them, and nothing that is there already."""
    hub.fail_with = {"adapter_model.safetensors": 404}
    first = run(hub.url, tmp_path, "--only", "cot")
    assert first.returncode == 2 and "Traceback" not in first.stderr
    assert "missing: cot: " in first.stderr and "goes on from there" in first.stderr
    folder = tmp_path / "experts" / "cot"
    assert (folder / "adapter_config.json").exists() and not (folder / "adapter_model.safetensors").exists()
    there = {f"bunsenfeng/cot/{path.name}" for path in folder.iterdir()}  # the others may be on their way side by side
    leftover = folder / ".cache" / "huggingface" / "download" / "x.incomplete"
    leftover.write_bytes(b"of a killed download")
    hub.fail_with.clear()
    hub.fetched.clear()
    second = run(hub.url, tmp_path, "--only", "cot")
    assert second.returncode == 0, second.stderr
    assert "bunsenfeng/cot/adapter_model.safetensors" in hub.fetched and not there.intersection(hub.fetched)
    assert not leftover.exists()


def test_a_download_that_breaks_off_again_and_again(hub: Hub, tmp_path: Path) -> None:
    hub.cut_off = {"adapter_model.safetensors"}
    done = run(hub.url, tmp_path, "--only", "cot")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.count("missing: cot: ") == 1 and "broke off" in done.stderr
    hub.cut_off.clear()
    assert run(hub.url, tmp_path, "--only", "cot").returncode == 0


def test_weights_that_are_cut_short_are_fetched_again(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "experts" / "lima"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_bytes(repository()["adapter_config.json"])
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes()[:-1])
    done = run(hub.url, tmp_path, "--only", "lima")
    assert done.returncode == 0, done.stderr
    assert (folder / "adapter_model.safetensors").read_bytes() == safetensors_bytes()


def test_one_line_for_each_that_is_missing(hub: Hub, tmp_path: Path) -> None:
    """Gated, unknown, pickled only, no weights: each says what to do, and the others come all the same."""
    hub.gated = {"bunsenfeng/cot"}
    del hub.repositories["bunsenfeng/lima"]
    pickled = hub.repositories["bunsenfeng/science"]
    pickled["adapter_model.bin"] = pickled.pop("adapter_model.safetensors")
    del hub.repositories["bunsenfeng/sharegpt"]["adapter_model.safetensors"]
    done = run(hub.url, tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("missing: ")]
    assert len(lines) == 4
    gated, unknown, pickled_only, empty = lines
    assert gated.startswith("missing: cot: gated") and "hf auth login" in gated and "/bunsenfeng/cot" in gated
    assert unknown.startswith("missing: lima: ") and "HF_TOKEN" in unknown
    assert pickled_only.startswith("missing: science: ") and "weights_only=True" in pickled_only
    assert "save_file" in pickled_only and not (tmp_path / "experts" / "science" / "adapter_model.bin").exists()
    assert empty.startswith("missing: sharegpt: ") and "no weights in safetensors" in empty
    assert "6 of 10 experts" in done.stderr
    assert (tmp_path / "experts" / "wizardlm" / "adapter_model.safetensors").exists()


def test_a_hub_that_answers_an_error_is_named(hub: Hub, tmp_path: Path) -> None:
    hub.fail_with = {"bunsenfeng/oasst1": 500, "bunsenfeng/science": 403, "tokenizer.json": 403}
    done = run(hub.url, tmp_path, "--only", "oasst1,science,cot")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("missing: ")]
    assert [f"error {status}" in line for status, line in zip((500, 403, 403), lines, strict=True)] == [True] * 3


def test_offline_says_so_and_counts_what_is_there(hub: Hub, tmp_path: Path) -> None:
    assert run(hub.url, tmp_path, "--only", "cot").returncode == 0
    asked = hub.asked
    done = run(hub.url, tmp_path, HF_HUB_OFFLINE="1")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "1 of 10 experts" in done.stderr and hub.asked == asked
    lines = [line for line in done.stderr.splitlines() if line.startswith("missing: ")]
    assert len(lines) == 9 and all("HF_HUB_OFFLINE is set" in line for line in lines)
    assert run(hub.url, tmp_path, "--only", "cot", HF_HUB_OFFLINE="1").returncode == 0


def test_no_server_is_asked_once_only(tmp_path: Path) -> None:
    with socket.socket() as nobody:  # bound but not listening: every connection is refused
        nobody.bind(("127.0.0.1", 0))
        done = run(f"http://127.0.0.1:{nobody.getsockname()[1]}", tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("missing: ")]
    assert len(lines) == 10 and "cannot be reached" in lines[0]
    assert all("not tried" in line for line in lines[1:])


def test_unknown_name_lists_those_there_are(tmp_path: Path) -> None:
    done = run("http://127.0.0.1:9", tmp_path, "--only", "cot,nobody")
    assert done.returncode == 2
    assert "no expert nobody" in done.stderr and all(name in done.stderr for name in NAMES)
