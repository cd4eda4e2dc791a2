"""The engine that the settings ask for."""

import gc
import logging
import os
import sys
import warnings
from typing import Any

from swarm.engines.base import Engine
from swarm.engines.completion_cache import CompletionCache
from swarm.engines.disk_cache import DiskCache, answers_path
from swarm.errors import UserError
from swarm.fusion.member import FusionMember
from swarm.nodes.blend import Blended
from swarm.nodes.members import Members
from swarm.nodes.router import Routed
from swarm.routers.base import LanguageModel
from swarm.search.config import SearchConfig


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


def device_of(gpus: str | None) -> str | None:
    """The torch device for -g; None leaves the choice to the engine.

    Raises UserError for ids that are no numbers or that this machine does not have.
    """
    if gpus is None:
        return None
    import torch

    ids = [part.strip() for part in gpus.split(",")]
    if not all(part.isdecimal() for part in ids):
        raise UserError(f"--gpus is {gpus!r}; wanted CUDA device ids such as 0")
    there = torch.cuda.device_count()
    for part in ids:
        if int(part) >= there:
            have = f"this machine has ids 0 to {there - 1}" if there else "this machine has no CUDA device"
            raise UserError(f"--gpus names device {part}, but {have}; leave out -g to use what there is")
    if len(ids) > 1:
        logging.getLogger("swarm").warning("this version uses one device: %s of %s", ids[0], gpus)
    return f"cuda:{int(ids[0])}"


def make_cache(engine: Engine, config: SearchConfig) -> CompletionCache:
    """What the engine was asked before, on this machine unless --no-cache."""
    if config.no_cache:
        return CompletionCache(engine.facts())
    return CompletionCache(engine.facts(), DiskCache(answers_path(), config.cache_size * 1_000_000))


def base_model_of(engine: Any) -> LanguageModel:
    """The experts' bare base model within an engine, for routers that read with its states."""
    from swarm.routers.engine import language_model_of

    return language_model_of(engine)


def make_engine(members: Any, config: SearchConfig) -> Any:
    """The engine that the settings ask for; `members` is what it is to answer for, or a pool of experts alone.

    Raises UserError if a composite's models cannot be had or cannot work together.
    """
    quieten_libraries()
    from swarm.engines.in_process import InProcessEngine

    device, code = device_of(config.gpus), config.trust_remote_code
    pool, everybody = (members.pool, members.initial()) if isinstance(members, Members) else (members, ())
    engine: Engine
    engine = host = InProcessEngine(pool, device, config.dtype, config.token_budget, code, config.fold)
    if fusions := [member for member in everybody if isinstance(member, FusionMember)]:
        from swarm.fusion.engine import FusionEngine

        engine = FusionEngine(host, fusions, code)
    if choosers := [member.chooser for member in everybody if isinstance(member, Routed)]:
        from swarm.routers.engine import RoutingEngine

        engine = RoutingEngine(engine, host, choosers)
    if models := [model for member in everybody if isinstance(member, Blended) for model in member.models]:
        from swarm.blending.engine import BlendingEngine

        engine = BlendingEngine(engine, host, models)
    gc.freeze()  # libraries and model stay, so no collection of garbage need look at their objects again
    return engine
