"""What the figures were measured on, and what this machine can do at best."""

import datetime
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch

SIDE = 1024
TRIES = 10


def describe(root: Path) -> list[str]:
    """Lines for the head of a table: machine, software, date, and the commit if there is one."""
    import transformers

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no accelerator"
    lines = [
        f"machine: {os.cpu_count()} cores ({processor()}), {device}",
        f"software: Python {platform.python_version()}, torch {torch.__version__} with {torch.get_num_threads()} "
        f"threads, transformers {transformers.__version__}",
        f"date: {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC",
    ]
    commit = _git(root, "rev-parse", "--short", "HEAD")
    if commit:
        lines.append(f"commit: {commit}" + (" with changes" if _git(root, "status", "--porcelain", "-uno") else ""))
    return lines


def processor() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    except OSError:  # no git here
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def copying(size: int) -> Callable[[], object]:
    """What copies so many bytes within memory: the least that must be done to read as much and to write as much."""
    source = torch.ones(size, dtype=torch.uint8)
    target = torch.ones_like(source)  # touched before: the first write to a page is dearer
    return lambda: target.copy_(source)


def matmul_rate() -> float:
    """Floating-point operations per second of a float32 matrix product with the threads that are set."""
    left, right = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    target = torch.empty(SIDE, SIDE)
    fastest = float("inf")
    for _ in range(TRIES):  # a limit of the hardware is what it does undisturbed
        begun = time.perf_counter()
        torch.mm(left, right, out=target)
        fastest = min(fastest, time.perf_counter() - begun)
    return 2 * SIDE**3 / fastest
