"""The engine that the settings ask for."""

import gc
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from swarm.data.mapping_files import read_mapping_file
from swarm.engines.base import Engine
from swarm.engines.cache.completion_cache import CompletionCache
from swarm.engines.cache.disk_cache import DiskCache, answers_path
from swarm.engines.executor import Executor, SingleEngine
from swarm.errors import UserError
from swarm.evolution.config import SearchConfig
from swarm.members.member_kinds import engine_around
from swarm.members.members import Members
from swarm.members.routing.interfaces import LanguageModel


def quieten_libraries() -> None:
    """No progress bars of libraries where nobody watches, and no warnings about what we do on purpose."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    # the base is named relative to the adapter, which PEFT does not know, and half precision is asked for
    for message in ("Could not find a config file in", "The PEFT config's `base_model_name_or_path` was renamed"):
        warnings.filterwarnings("ignore", message=message)
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def devices_of(config: SearchConfig) -> list[str | None]:
    """The torch device of each worker here that -g and --workers ask for; None leaves the choice to the engine.

    Several devices of one worker are joined: cuda:0+cuda:1.

    With workers on a cluster it is that of what is loaded beside them: a local judge, a router's language model.

    Raises UserError for ids that are no numbers or that this machine does not have, for more workers than there are
    devices, or cores where there is none, and for several workers beside a device that torch cannot use.
    """
    workers = config.workers
    if config.gpus is not None and config.gpus.strip() == "cpu":
        return _shares_of_the_cores(workers or 1, "-g cpu")
    ids = _device_ids(config.gpus)
    if config.executor == "ray":
        return [None]
    if ids is None:
        if workers is None or workers == 1:
            return [None]
        import torch

        from swarm.engines.local.devices import usual_device

        ids = [[number] for number in range(torch.cuda.device_count())]
        if not ids:
            usual_device()  # says so where there is one that torch cannot use
            return _shares_of_the_cores(workers, "no CUDA device")
    if workers is not None and workers > len(ids):
        raise UserError(
            f"--workers {workers} are more workers than devices ({', '.join(_joined(ids))}): each takes one; give "
            f"--workers {len(ids)}, or name more devices with -g"
        )
    return [*_joined(ids[:workers], "cuda:")]


def _shares_of_the_cores(workers: int, why: str) -> list[str | None]:
    """The processor for each of so many workers."""
    if workers > cores():
        raise UserError(
            f"--workers {workers} are more workers than devices: {why}, and {cores()} processor cores; give at most "
            f"--workers {cores()}"
        )
    return ["cpu"] * workers


def _joined(ids: Sequence[Sequence[int]], before: str = "") -> list[str]:
    return ["+".join(f"{before}{number}" for number in group) for group in ids]


def _device_ids(gpus: str | None) -> list[list[int]] | None:
    """The numbers in -g, of every worker, checked; None without it."""
    if gpus is None:
        return None
    import torch

    from swarm.engines.local.devices import usual_device

    groups = [[part.strip() for part in group.split("+")] for group in gpus.split(",")]
    ids = [part for group in groups for part in group]
    if not all(part.isdecimal() for part in ids):
        raise UserError(f"--gpus is {gpus!r}; wanted CUDA device ids such as 0 or 0,1,2, or cpu, or 0+1 for one model")
    there = torch.cuda.device_count()
    if not there:
        usual_device()  # says so where there is one that torch cannot use
    for part in ids:
        if int(part) >= there:
            have = f"this machine has ids 0 to {there - 1}" if there else "this machine has no CUDA device"
            raise UserError(f"--gpus names device {part}, but {have}; leave out -g to use what there is")
    if len(set(map(int, ids))) < len(ids):
        raise UserError(f"--gpus is {gpus!r} and names a device twice; wanted each once: it is one worker's")
    return [[int(part) for part in group] for group in groups]


def device_map_of(config: SearchConfig, device: str | None) -> dict[str, str] | None:
    """The map in the file that the settings name, module -> torch device, for a worker on these devices; None if none.

    Raises UserError for a file that holds none, or one that names other devices.
    """
    if config.device_map is None:
        return None
    place = Path(config.device_map)
    given = read_mapping_file(place, "device map")
    if device is None or "+" not in device:
        raise UserError(f"--device_map {place} divides a model, and -g names no devices together: give -g 0+1")
    if not isinstance(given, Mapping) or not given:
        raise UserError(f'{place} holds no device map; wanted an object such as {{"model.embed_tokens": 0}}')
    found = {str(name): f"cuda:{str(where).removeprefix('cuda:')}" for name, where in given.items()}
    if other := [name for name, where in found.items() if where not in device.split("+")]:
        raise UserError(
            f"{place} puts {other[0]} on {found[other[0]]}, which -g {config.gpus} does not name: correct one of them"
        )
    return found


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_cache(engine: Engine | Executor, config: SearchConfig) -> CompletionCache:
    """What the engine was asked before, on this machine unless --no-cache."""
    if config.no_cache:
        return CompletionCache(engine.facts())
    return CompletionCache(engine.facts(), DiskCache(answers_path(), config.cache_size * 1_000_000))


class BaseReader:
    """The experts' bare base model, for routers that read with its states: the engine's, or one beside the workers."""

    def __init__(self, executor: Executor, members: Members, config: SearchConfig):
        """Nothing is loaded yet."""
        self._engine = executor.engine if isinstance(executor, SingleEngine) else None
        self._make = partial(make_engine, members.pool, config)

    def __call__(self) -> LanguageModel:
        """The bare base; holds until the engine is asked for an expert."""
        from swarm.members.routing.routing_engine import language_model_of

        self._engine = self._engine or self._make()
        return language_model_of(self._engine)


def make_executor(members: Any, config: SearchConfig) -> Executor:
    """What answers for `members`: an engine in this process, one in each of several, or one in each of many actors.

    Close it when it is not needed any more. Raises UserError as `devices_of` and `make_engine` do.
    """
    if config.executor == "ray":
        return _ray_executor(members if isinstance(members, Members) else Members(members), config)
    devices = devices_of(config)
    if len(devices) == 1:
        return SingleEngine(make_engine(members, config))
    from swarm.workers.processes import Processes
    from swarm.workers.worker_executor import Limits, WorkerExecutor

    makers = [partial(make_engine, members, config, device) for device in devices]
    return WorkerExecutor(Processes(makers, threads_of_each(len(makers))), Limits(answer=config.worker_timeout))


def _ray_executor(members: Members, config: SearchConfig) -> Executor:
    """Actors of a Ray cluster. Raises UserError if there is none, or it lacks what they need."""
    if config.gpus is not None:
        raise UserError(
            "-g names devices of this machine, not of a Ray cluster; say how many with --workers, and with --ray_cores "
            "that they are to be processor cores"
        )
    from swarm.workers.ray_cluster import connect, load_ray, room_for
    from swarm.workers.worker_executor import Limits, WorkerExecutor

    connect(config.ray_address)
    try:
        from swarm.workers.ray_actors import RayActors
        from swarm.workers.ray_worker import setup

        room = room_for(config.workers, config.ray_cores)
        code = config.trust_remote_code
        about = setup(members, partial(_engine_on, config), room.device, room.cores, config.dtype, code)
        return WorkerExecutor(RayActors(room, about), Limits(answer=config.worker_timeout))
    except BaseException:
        load_ray().shutdown()
        raise


def _engine_on(config: SearchConfig, members: Members, device: str) -> Engine:
    engine: Engine = make_engine(members, config, device)
    return engine


def threads_of_each(workers: int) -> int:
    """Threads for each of several workers of this machine: its share of the cores, and no more than one alone takes."""
    import torch

    return min(max(cores() // workers, 1), torch.get_num_threads())


def make_engine(members: Any, config: SearchConfig, device: str | None = None) -> Any:
    """An engine in this process; `members` is what it is to answer for, or a pool of experts alone.

    `device` is a worker's; by default it is the first of those that the settings ask for. Raises UserError if a
    composite's models cannot be had or cannot work together, or if the device is too small.
    """
    quieten_libraries()
    import torch

    from swarm.engines.local.devices import ON_CPU_ANYWHERE, usual_device
    from swarm.engines.local.transformers_engine import InProcessEngine

    device, code = device or devices_of(config)[0], config.trust_remote_code
    if device is None and config.executor == "ray":
        device = usual_device(ON_CPU_ANYWHERE)  # beside a cluster's workers, of which -g says nothing
    number = None if device is None else torch.device(device.partition("+")[0]).index
    if number is not None:  # else it is the first of those that this process sees, as an actor sees only its own
        torch.cuda.set_device(number)  # nothing of ours, or of a library's, is to lie on another one
    pool, initial = (members.pool, members.initial()) if isinstance(members, Members) else (members, ())
    engine = engine_around(
        InProcessEngine(
            pool, device, config.dtype, config.token_budget, code, config.fold, device_map_of(config, device)
        ),
        initial,
        code,
    )
    gc.freeze()  # libraries and model stay, so no collection of garbage need look at their objects again
    return engine
