"""A model that is larger than a device: its layers on several, by accelerate, and all that follows from that.

Every layer computes where it lies; accelerate's hooks carry what goes from one to the next. Keys and values lie with
their layers, so that transformers' own cache is used rather than one that is a single piece.
"""

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psutil
import torch
from peft import PeftModel

from swarm.engines.local.decoder_choice import LOOKS_AT_PROMPT
from swarm.engines.local.devices import usual_device_and_dtype
from swarm.engines.local.generation_settings import greedy
from swarm.engines.local.long_rows import LongRowsAlone
from swarm.engines.local.lora_batch import RowAdapters
from swarm.engines.local.neighbours import rows_are_apart
from swarm.engines.local.plain_generate import PlainGenerate
from swarm.engines.local.positions import scaled_by_length
from swarm.engines.local.pretrained import load_base
from swarm.engines.local.row_stepper import RowStepper
from swarm.errors import UserError

DeviceMap = dict[str, torch.device]
"""Name of a module -> where it and all within it lie."""


def together(device: str | None) -> list[str | None]:
    """The devices that "cuda:0+cuda:1" names for one model; None leaves the choice of one open."""
    return [None] if device is None else [*device.split("+")]


def devices_and_dtype(device: str | None, dtype: str | None) -> tuple[list[torch.device], torch.dtype]:
    """A model's devices, one or several, and its number format. Raises UserError as `usual_device_and_dtype` does."""
    found = [usual_device_and_dtype(one, dtype) for one in together(device)]
    formats = {number_format for _, number_format in found}
    return [one for one, _ in found], formats.pop() if len(formats) == 1 else torch.float32


def load_placed_base(
    base: str, dtype: torch.dtype, devices: Sequence[torch.device], given: Mapping[str, str] | None, **options: Any
) -> tuple[Any, Any, DeviceMap | None]:
    """A base's tokenizer and model, and where its layers lie if they are divided; then they lie there already.

    `given` and errors are those of `planned_map`, `options` those of `load_base`.
    """
    if len(devices) == 1 and given is None:
        return *load_base(base, "with -b", dtype, **options), None
    _, shell = load_base(base, "with -b", dtype, device_map="meta", **options)
    placed = planned_map(f"base model {base}", shell, devices, given)
    return *load_base(base, "with -b", dtype, device_map=named(placed), **options), placed


def planned_map(
    what: str, shell: Any, devices: Sequence[torch.device], given: Mapping[str, str] | None = None
) -> DeviceMap:
    """Where each layer of a model is to lie: as `given`, else in parts of like size; nothing is loaded.

    Args:
      what: the model, as messages say it.
      shell: it without numbers (on torch's meta device), in its number format.

    Raises UserError for a map that leaves a layer out, names one that is not there or cannot be carried out, and where
    the devices have too little memory, each or together.
    """
    sizes = _sizes(shell)
    rooms = _rooms(devices)
    needed, free = sizes[""], sum(rooms)
    if needed > free:
        raise UserError(
            f"{what} takes {needed / 2**30:.1f} GiB, but {_listed(devices)} have {free / 2**30:.1f} GiB free together: "
            "name more devices, or use a number format of 16 bits or a smaller model"
        )
    if given is None:
        return _balanced(what, shell, devices, rooms)
    found = {name: torch.device(device) for name, device in given.items()}
    _check_map(what, shell, found)
    for device in dict.fromkeys(found.values()):
        own = sum(sizes[name] for name in _outermost(found) if found[name] == device)
        room = sum(room for other, room in zip(devices, rooms, strict=True) if other == device)
        if own > room:
            raise UserError(
                f"the device map puts {own / 2**30:.1f} GiB of {what} on {device}, which has {room / 2**30:.1f} GiB "
                "free: move some of its layers to another device"
            )
    return found


def spread(model: Any, placed: DeviceMap) -> None:
    """Puts a loaded model's layers where they belong, with hooks; after what was added to them (LoRA) in any case."""
    from accelerate import dispatch_model  # type: ignore[import-untyped]
    from accelerate.hooks import remove_hook_from_submodules  # type: ignore[import-untyped]

    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    remove_hook_from_submodules(bare)
    dispatch_model(
        bare,
        named(placed),
        main_device=str(next(iter(placed.values()))),
        skip_keys=bare._skip_keys_device_placement,
        force_hooks=True,
    )


def named(placed: DeviceMap) -> dict[str, str]:
    """The map as transformers takes it."""
    return {name: str(device) for name, device in placed.items()}


def spread_decoder(model: Any, pad_token_id: int) -> PlainGenerate | LongRowsAlone:
    """The decoder of a model on several devices: by transformers' `generate`, whose cache lies with the layers."""
    settings = greedy(model.generation_config, pad_token_id)
    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    one_by_one = any(getattr(settings, n, None) for n in LOOKS_AT_PROMPT) or not rows_are_apart(model, settings)
    way, limit = PlainGenerate(model, settings, sys.maxsize, one_by_one), scaled_by_length(bare)
    return way if limit is None else LongRowsAlone(way, PlainGenerate(model, settings, sys.maxsize, True), limit)


def spread_stepper(
    model: Any, adapters: RowAdapters | None = None, forced_bos_token_id: int | None = None
) -> RowStepper:
    """The stepper of a model on several devices: row by row, for the same reason."""
    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    return RowStepper(bare, adapters, forced_bos_token_id)


def _balanced(what: str, shell: Any, devices: Sequence[torch.device], rooms: Sequence[int]) -> DeviceMap:
    from accelerate import infer_auto_device_map
    from accelerate.utils import get_balanced_memory  # type: ignore[import-untyped]

    whole = list(shell._no_split_modules or ())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers of devices, by which it means those of this machine
        most = get_balanced_memory(shell, dict(enumerate(rooms)), no_split_module_classes=whole)
        found = infer_auto_device_map(shell, most, no_split_module_classes=whole)
    if homeless := [name for name, number in found.items() if not isinstance(number, int)]:
        raise UserError(
            f"{what} does not fit on {_listed(devices)}: there is no room for {homeless[0]} beside the others; name "
            "more devices, or use a number format of 16 bits or a smaller model"
        )
    return {name: devices[number] for name, number in found.items()}


def _check_map(what: str, shell: Any, found: DeviceMap) -> None:
    """Raises UserError for a map that names what is not there, leaves something out, or parts what belongs together."""
    modules = dict(shell.named_modules(remove_duplicate=False))
    if unknown := [name for name in found if name not in modules]:
        raise UserError(f"the device map names {unknown[0]!r}, which {what} does not have: correct it")
    where: dict[str, torch.device] = {}
    for name in shell.state_dict():
        own = [part for part in _within(name) if part in found]
        if not own:
            raise UserError(f"the device map leaves {name.rpartition('.')[0]} of {what} out: say where it lies")
        where[name] = found[own[0]]
    for name, module in modules.items():
        if type(module).__name__ in (shell._no_split_modules or ()):
            apart = {device for tensor, device in where.items() if tensor.startswith(f"{name}.")}
            if len(apart) > 1:
                raise UserError(
                    f"the device map parts {name} of {what}, which adds up what its parts say: put all of it on one "
                    "device"
                )
    tied: dict[int, str] = {}
    for name, parameter in shell.named_parameters(remove_duplicate=False):
        other = tied.setdefault(id(parameter), name)
        if name in where and other in where and where[name] != where[other]:
            raise UserError(f"the device map parts {other} and {name} of {what}, which are one: put both on one device")


def _within(name: str) -> Iterable[str]:
    """A tensor's name and those of the modules around it, the nearest first."""
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""


def _outermost(found: DeviceMap) -> list[str]:
    """The modules of a map that lie in no other one of it."""
    return [name for name in found if not any(part in found for part in list(_within(name))[1:])]


def _sizes(shell: Any) -> dict[str, int]:
    """Bytes of every module by name; of the whole model under ""."""
    from accelerate.utils import compute_module_sizes

    sizes: dict[str, int] = compute_module_sizes(shell)
    return sizes


def _rooms(devices: Sequence[torch.device]) -> list[int]:
    """Free bytes of every device; of one that is named several times, its part each time."""
    return [_free(device) // devices.count(device) for device in devices]


def _free(device: torch.device) -> int:
    return int(torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available)


def _listed(devices: Sequence[torch.device]) -> str:
    return " and ".join(map(str, devices))
