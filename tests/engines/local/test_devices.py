"""Which device and number format are chosen, over a table of machines; none of them is this one."""

import os
import stat
from pathlib import Path

import pytest
import torch
from repository import ROOT

from swarm.engines.local import devices
from swarm.engines.local.devices import (
    Card,
    CudaFacts,
    check_kernels,
    cuda_facts,
    number_format,
    usual_device,
    usual_device_and_dtype,
)
from swarm.errors import UserError
from swarm.evolution.config import SearchConfig
from swarm.programs.engine_choice import devices_of

TOO_OLD = "The NVIDIA driver on your system is too old (found version 12020)"
OF_CUDA_13 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
OF_CUDA_12 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
CUDA = torch.device("cuda", 0)


def facts(driver="535.104.05", build="13.0", reason=TOO_OLD, shown="/dev/nvidia0"):
    return CudaFacts(False, shown, driver, f"2.13.0+{'cpu' if build is None else 'cuda'}", build, reason)


@pytest.mark.parametrize(("found", "device"), [(CudaFacts(usable=True), "cuda"), (CudaFacts(), "cpu")])
def test_cuda_where_there_is_any_and_the_cpu_where_no_device_shows_itself(found, device):
    assert usual_device(facts=found) == device


@pytest.mark.parametrize(
    ("found", "said", "cure"),
    [
        (facts(), f"driver 535.104.05.*built for CUDA 13.0, cannot use it .{TOO_OLD[:40]}", "H_SWARM_TORCH=cu126"),
        (facts("470.82"), "driver 470.82", "H_SWARM_TORCH=cu118"),
        (facts("390.157", "12.6"), "driver 390.157", "update NVIDIA's driver to 450 or newer"),
        (facts("580.65.06", None), "PyTorch 2.13.0.cpu, built without CUDA, cannot use it: ", "H_SWARM_TORCH=ordinary"),
        (facts("550.54", None), "built without CUDA", "H_SWARM_TORCH=cu126"),
        (facts("", None), "/dev/nvidia0., but", "H_SWARM_TORCH=cu126"),
        # a driver that suits and does not work is no matter of the build
        (facts("580.65.06", "13.0", "Error 803: system has unsupported"), "Error 803", "nvidia-smi shows its state"),
        (facts("550.54", "12.6", "No CUDA GPUs are available"), "No CUDA GPUs", "nvidia-smi shows its state"),
        (facts("580.65", "12.6"), "built for CUDA 12.6", "nvidia-smi shows its state"),
    ],
)
def test_a_device_that_cannot_be_used_is_said_with_its_cure(found, said, cure):
    with pytest.raises(UserError, match=f"there is an NVIDIA device .*{said}") as error:
        usual_device("--on-the-cpu", found)
    assert cure in str(error.value) and str(error.value).endswith("or compute on the CPU with --on-the-cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("capability", "architectures", "build"),
    [
        ((8, 0), OF_CUDA_13, None),
        ((8, 9), OF_CUDA_13, None),  # by sm_86: the same major, a smaller minor
        ((7, 5), OF_CUDA_13, None),
        ((12, 1), OF_CUDA_13, None),  # translated when it is loaded, or sm_120's
        ((13, 0), OF_CUDA_13, None),
        ((6, 1), OF_CUDA_12, None),
        ((9, 0), ("sm_90a",), None),
        ((9, 0), (), None),  # it does not say
        ((13, 0), ("tile_9",), None),
        ((7, 0), OF_CUDA_13, "cu126"),
        ((6, 0), OF_CUDA_13, "cu126"),
        ((12, 0), OF_CUDA_12, "ordinary"),
        ((8, 0), ("sm_86",), "ordinary"),
        ((9, 3), ("sm_90a",), "ordinary"),
    ],
)
def test_a_build_without_code_for_a_device(capability, architectures, build):
    card = Card("cuda:1", "Some Card", capability, architectures)
    if build is None:
        check_kernels(card)
        return
    shown = ".".join(map(str, capability))
    with pytest.raises(UserError, match=f"^cuda:1 .Some Card, compute capability {shown}. cannot run") as error:
        check_kernels(card)
    assert f"H_SWARM_TORCH={build} " in str(error.value) and str(error.value).endswith("with -g cpu")


@pytest.mark.parametrize(
    ("capability", "given", "wanted"),
    [
        (None, None, torch.float32),
        (None, "bfloat16", torch.bfloat16),
        ((8, 0), None, torch.bfloat16),
        ((9, 0), "float16", torch.float16),
        ((7, 5), None, torch.float32),  # torch would emulate bfloat16
        ((7, 0), "float16", torch.float16),
        ((7, 0), "float32", torch.float32),
    ],
)
def test_number_formats(capability, given, wanted):
    card = None if capability is None else Card("cuda:0", "Some Card", capability)
    assert number_format(card, torch.device("cpu") if card is None else CUDA, given) is wanted


def test_a_format_that_a_card_lacks():
    with pytest.raises(UserError, match=r"--dtype is bfloat16, which cuda:0 \(Tesla T4, .* 7.5\) does not have: give"):
        number_format(Card("cuda:0", "Tesla T4", (7, 5)), CUDA, "bfloat16")
    assert number_format(None, CUDA, None) is torch.bfloat16, "AMD's, of which nothing is known here"


def test_an_older_card_computes_in_float32_and_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices, "card_at", lambda device: Card(str(device), "Tesla T4", (7, 5), ("sm_75",)))
    assert usual_device_and_dtype(None, None) == (torch.device("cuda"), torch.float32)
    assert devices.half_format(CUDA) == "float16"
    unusual = devices.what_is_unusual(CUDA, torch.float32, None)
    assert "Tesla T4" in unusual and "loaded in float32; --dtype float16 takes half the memory" in unusual
    assert devices.what_is_unusual(CUDA, torch.float32, "float32") == ""
    monkeypatch.setattr(devices, "card_at", lambda device: Card(str(device), "Tesla T4", (7, 5), ("sm_80",)))
    with pytest.raises(UserError, match="Tesla T4.* cannot run PyTorch"):
        usual_device_and_dtype("cuda:0", "float32")


def test_a_device_that_is_named_and_not_there():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UserError, match="cuda:0 is wanted, and no NVIDIA device shows itself here"):
        usual_device_and_dtype("cuda:0", None)


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Makes an nvidia-smi that answers so, first on PATH; CUDA_VISIBLE_DEVICES is as a user leaves it."""

    def make(listed, driver="535.104.05", code=0):
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\ncase "$1" in -L) echo "{listed}" ;; *) echo "{driver}" ;; esac\nexit {code}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return make


needs_no_device = pytest.mark.skipif(
    torch.cuda.is_available() or any(Path("/dev").glob("nvidia[0-9]*")), reason="this machine has a device of its own"
)


@needs_no_device
@pytest.mark.parametrize(
    ("visible", "shown"),
    [
        (None, "GPU 0: NVIDIA A100"),
        ("0,1", "GPU 0: NVIDIA A100, CUDA_VISIBLE_DEVICES=0,1"),
        ("GPU-8f2c", "GPU 0: NVIDIA A100, CUDA_VISIBLE_DEVICES=GPU-8f2c"),
        ("", ""),
        (" ", ""),
        ("-1", ""),
        ("-1,0", ""),
        ("none", ""),
        ("NoDevFiles", ""),
    ],
)
def test_what_the_surroundings_show(smi, monkeypatch, visible, shown):
    smi("GPU 0: NVIDIA A100 (UUID: GPU-8f2c)")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = cuda_facts()
    assert (found.shown, found.driver) == ((shown, "535.104.05") if shown else ("", ""))


@needs_no_device
def test_an_nvidia_smi_that_cannot_say_anything_shows_nothing(smi, monkeypatch):
    smi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver", code=9)
    assert cuda_facts() == CudaFacts()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert cuda_facts().shown == "CUDA_VISIBLE_DEVICES=0", "who names a device expects one"


@needs_no_device
@pytest.mark.skipif(torch.version.cuda is not None, reason="the line is of a build without CUDA")
def test_a_program_ends_in_one_line_before_anything_is_loaded(programs, smi, tmp_path):
    """As a user meets it; -g cpu goes on."""
    smi("GPU 0: NVIDIA A100 (UUID: GPU-8f2c)")
    command = [ROOT / "search.py", *"-e exact_match -d graph_tasks_small -m 0 -n mine".split()]
    command += ["--data_directory", ROOT / "data/eval", "-i", ROOT / "data/embedded/experts"]
    command += "--graph_num 2 --trial_num 2 --dev_limit 2 --test_limit 2 --max_new_tokens 2".split()

    def run(*more):
        return programs.python(*command, *more, cwd=tmp_path)

    done = run()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: there is an NVIDIA device (GPU 0: NVIDIA A100, driver 535.104.05), but ")
    assert not (tmp_path / "search").exists()
    for settings in ({"gpus": "0"}, {"workers": 2}):
        with pytest.raises(UserError, match="there is an NVIDIA device"):
            devices_of(SearchConfig(**settings))
    done = run("-g", "cpu")
    assert done.returncode == 0, done.stderr
    assert "float32 on cpu" in done.stdout
