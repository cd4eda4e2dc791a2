"""The choice of device and number format: CUDA where there is any, the CPU only where there is none.

An NVIDIA device that torch cannot use is an error with its cure: a search on the CPU would take weeks in its stead.
"""

import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from swarm.errors import UserError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HAVE_BFLOAT16 = (8, 0)  # compute capability from which on it is computed in, and not emulated
OLDEST_OF_CUDA_13 = (7, 5)
# builds of PyTorch for scripts/environment.sh, each with the oldest driver and the CUDA that it needs, newest first
BUILDS = (("ordinary", 580, 13), ("cu126", 525, 12), ("cu118", 450, 11))
ON_CPU, ON_CPU_ANYWHERE = "-g cpu", 'CUDA_VISIBLE_DEVICES="" before the command'
PATIENCE = 30.0  # seconds that nvidia-smi may take: without a resident driver it loads one first
WSL = "/usr/lib/wsl/lib"  # where Windows puts nvidia-smi for its Linux, on no PATH of a service


@dataclass(frozen=True)
class CudaFacts:
    """The NVIDIA devices of this machine, and torch's support of them.

    Attributes:
      usable: whether torch can use CUDA; the rest is then not looked for.
      shown: where a device shows itself; "" if nowhere, or if the user hides them all with CUDA_VISIBLE_DEVICES.
      driver: version of NVIDIA's driver; "" if it is not to be had.
      torch, cuda: torch's version, and that of CUDA which it was built for; None for a build without.
      reason: why it can use none, in its own words.
    """

    usable: bool = False
    shown: str = ""
    driver: str = ""
    torch: str = ""
    cuda: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Card:
    """A CUDA device as torch sees it.

    Attributes:
      device: its name for torch, such as cuda:0; `name` is the vendor's.
      capability: major and minor.
      architectures: that this torch has kernels for, such as sm_80; none if it does not say.
    """

    device: str
    name: str
    capability: tuple[int, int]
    architectures: tuple[str, ...] = ()

    @property
    def has_bfloat16(self) -> bool:
        """Whether it computes in that format; torch emulates it on older ones, many times slower."""
        return self.capability >= HAVE_BFLOAT16

    def __str__(self) -> str:
        return f"{self.device} ({self.name}, compute capability {_dotted(self.capability)})"


def cuda_facts() -> CudaFacts:
    """The `CudaFacts` of this machine and process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of what the error says
        if torch.cuda.is_available():
            return CudaFacts(usable=True)
    shown = _shown(os.environ)
    if not shown:
        return CudaFacts()
    return CudaFacts(False, shown, _driver(), torch.__version__, torch.version.cuda, _reason())


def usual_device(on_cpu: str = ON_CPU, facts: CudaFacts | None = None) -> str:
    """cuda where torch can use it, cpu where no device shows itself or the user hides them.

    Raises UserError for one that shows itself and cannot be used; `on_cpu` says there how the CPU is chosen.
    """
    facts = facts or cuda_facts()
    if facts.usable or not facts.shown:
        return "cuda" if facts.usable else "cpu"
    driver = f", driver {facts.driver}" if facts.driver else ""
    built = f"built for CUDA {facts.cuda}" if facts.cuda else "built without CUDA"
    reason = f" ({facts.reason})" if facts.reason and facts.cuda else ""
    raise UserError(
        f"there is an NVIDIA device ({facts.shown}{driver}), but PyTorch {facts.torch}, {built}, cannot use it"
        f"{reason}: {_cure(facts)}, or compute on the CPU with {on_cpu}"
    )


def card_at(device: torch.device) -> Card | None:
    """The CUDA device of that name; None for the CPU, and for AMD's devices, which torch calls cuda, too."""
    if device.type != "cuda" or torch.version.hip:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of what `check_kernels` says
        capability = torch.cuda.get_device_capability(device)
        return Card(str(device), torch.cuda.get_device_name(device), capability, tuple(torch.cuda.get_arch_list()))


def check_kernels(card: Card, on_cpu: str = ON_CPU) -> None:
    """Raises UserError if this torch has no code that the device can run: the first computation would fail."""
    if not card.architectures or any(_runs(each, card.capability) for each in card.architectures):
        return
    build = "cu126" if card.capability < OLDEST_OF_CUDA_13 else "ordinary"
    raise UserError(
        f"{card} cannot run PyTorch {torch.__version__}, which was built for {', '.join(card.architectures)}: install "
        f"a build for it with {_install(build)}, name another device, or compute on the CPU with {on_cpu}"
    )


def number_format(card: Card | None, device: torch.device, given: str | None, option: str = "--dtype") -> torch.dtype:
    """The number format that is given, else bfloat16 on a CUDA device that has it, else float32.

    float16, which older devices have, is nobody's default: numbers of models made in bfloat16 exceed its range.
    Raises UserError for bfloat16 where the device lacks it.
    """
    lacks = card is not None and not card.has_bfloat16
    if given == "bfloat16" and lacks:
        raise UserError(
            f"{option} is bfloat16, which {card} does not have: give float32, or float16, which takes half the memory "
            "and in which some models' numbers overflow"
        )
    return DTYPES[given or ("bfloat16" if device.type == "cuda" and not lacks else "float32")]


def usual_device_and_dtype(
    device: str | None, dtype: str | None, on_cpu: str = ON_CPU, option: str = "--dtype"
) -> tuple[torch.device, torch.dtype]:
    """A model's device and number format: those that are given, else the usual device and its usual format.

    Raises UserError as `usual_device`, `check_kernels` and `number_format` do, and for CUDA where there is none.
    """
    chosen = torch.device(device or usual_device(on_cpu))
    if chosen.type == "cuda" and usual_device(on_cpu) == "cpu":
        raise UserError(
            f"{device} is wanted, and no NVIDIA device shows itself here: see what CUDA_VISIBLE_DEVICES names, or "
            f"compute on the CPU with {on_cpu}"
        )
    card = card_at(chosen)
    if card is not None:
        check_kernels(card, on_cpu)
    return chosen, number_format(card, chosen, dtype, option)


def what_is_unusual(device: torch.device, chosen: torch.dtype, given: str | None, option: str = "--dtype") -> str:
    """A warning of a format that is not the usual one of CUDA devices, though nobody has asked for another; or ""."""
    card = card_at(device)
    if given is not None or card is None or card.has_bfloat16:
        return ""
    return (
        f"{card} has no bfloat16: models are loaded in {str(chosen).removeprefix('torch.')}; {option} float16 takes "
        "half the memory and is faster, but some models' numbers overflow in it"
    )


def half_format(device: torch.device) -> str:
    """The number format of 16 bits that suits a CUDA device."""
    card = card_at(device)
    return "bfloat16" if card is None or card.has_bfloat16 else "float16"


def _cure(facts: CudaFacts) -> str:
    """The cure where a device is not usable: another build of torch, or a driver that works."""
    major = int(facts.driver.partition(".")[0]) if facts.driver[:1].isdigit() else None
    if major is None:
        return f"install another build with {_install('cu126')}"
    suits = [(build, cuda) for build, oldest, cuda in BUILDS if major >= oldest]
    if not suits:
        return f"update NVIDIA's driver to {BUILDS[-1][1]} or newer"
    if facts.cuda is not None and int(facts.cuda.partition(".")[0]) <= suits[0][1]:
        return "this driver is new enough for it, so make the device work first (nvidia-smi shows its state)"
    return f"install a build for this driver with {_install(suits[0][0])}"


def _install(build: str) -> str:
    return f"`H_SWARM_TORCH={build} bash scripts/environment.sh`"


def _shown(environment: Mapping[str, str]) -> str:
    """The sign of an NVIDIA device on this machine."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None and not _names_a_device(named):
        return ""
    where = next((str(path) for path in sorted(Path("/dev").glob("nvidia[0-9]*"))), "")
    if not where:
        listed = _nvidia_smi("-L").splitlines()[:1]
        where = "".join(line.partition(" (UUID")[0] for line in listed if line.startswith("GPU"))
    return ", ".join(filter(None, [where, f"CUDA_VISIBLE_DEVICES={named}" if named is not None else ""]))


def _names_a_device(visible: str) -> bool:
    """Whether CUDA_VISIBLE_DEVICES leaves a device: CUDA stops reading at the first name that can be none."""
    return re.fullmatch(r"\d+|(GPU|MIG)-.+", visible.partition(",")[0].strip()) is not None


def _driver() -> str:
    """The version of NVIDIA's driver."""
    try:
        found = re.search(r"Kernel Module.*?\s(\d+(\.\d+)+)\s", Path("/proc/driver/nvidia/version").read_text())
    except OSError:
        found = None
    if found:
        return found[1]
    answer = _nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader").splitlines()[:1]
    return "".join(line.strip() for line in answer if line.strip()[:1].isdigit())


def _nvidia_smi(*arguments: str) -> str:
    """The output of nvidia-smi; "" where it is missing or fails."""
    program = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=WSL)
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _reason() -> str:
    """The message of torch's error when it initialises CUDA."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return " ".join(str(error).split())[:300].rstrip(" .")
    return ""


def _runs(architecture: str, capability: tuple[int, int]) -> bool:
    """Whether a device of that capability can run code for an architecture: its own, or translated when loaded."""
    parts = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", architecture)
    if parts is None:
        return True  # of a kind that came later: the device will say
    code = (int(parts[2]), int(parts[3]))
    if parts[4] == "a":  # for that very one
        return code == capability
    return code <= capability and (parts[1] == "compute" or code[0] == capability[0])


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
