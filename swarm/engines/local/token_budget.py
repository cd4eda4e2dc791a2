"""The number of tokens that fit into a device's memory at a time."""

from typing import Any

import psutil
import torch

from swarm.engines.local.decoder import Decoder
from swarm.engines.local.devices import half_format
from swarm.engines.local.long_rows import LongRowsAlone
from swarm.engines.local.plain_generate import PlainGenerate
from swarm.errors import UserError

CPU_TOKENS = 16_384  # more makes no batch faster on a processor
ADAPTERS = 8  # one part of this many of the free memory is for the adapters of experts side by side
SHARE = 0.9  # of the free memory that is used: the rest is for what a trial does not show


def adapter_bytes(device: torch.device) -> int:
    """Bytes that the adapters of experts side by side may take."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return free // ADAPTERS


def measured_token_budget(
    decoder: Decoder | PlainGenerate | LongRowsAlone, device: torch.device, reserved: int = 0
) -> int:
    """The tokens, prompts and answers with padding, that fit beside the model; on CUDA after a trial.

    `reserved` bytes of a device are left to others.
    """
    if isinstance(decoder, LongRowsAlone):
        return measured_token_budget(decoder.short, device, reserved)
    config = decoder.model.config.get_text_config()
    if device.type == "cuda" and isinstance(decoder, Decoder):
        return _tried(decoder, device, config, reserved)
    if device.type == "cuda":
        # transformers' own cache is copied whole whenever it grows
        return tokens_that_fit(
            torch.cuda.mem_get_info(device)[0] - reserved, 0, 2 * cache_bytes(config, decoder.model.dtype)
        )
    free = psutil.virtual_memory().available // 2  # the other half is the user's
    return min(tokens_that_fit(free, 0, cache_bytes(config, decoder.model.dtype)), CPU_TOKENS)


def check_room(base: str, parameters: int, device: torch.device, dtype: torch.dtype) -> None:
    """Raises UserError if so many parameters are more than a CUDA device has free, and says where they would fit."""
    needed, (free, size) = parameters * dtype.itemsize, torch.cuda.mem_get_info(device)
    if needed <= free:
        return
    names = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    roomy = [name.removeprefix("cuda:") for name in names if torch.cuda.mem_get_info(name)[0] >= needed]
    if roomy:
        cure = f"use -g {','.join(roomy)}"
    elif parameters * torch.bfloat16.itemsize <= free:
        cure = f"use --dtype {half_format(device)}"
    else:
        cure = "use a smaller base or a device with more memory, or end what else is on it"
    raise UserError(
        f"base model {base} takes {needed / 2**30:.1f} GiB in {str(dtype).removeprefix('torch.')}, but {device} has "
        f"{free / 2**30:.1f} GiB of its {size / 2**30:.1f} free; {cure}"
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means out of memory, on a device or on the CPU (whose allocator says so in words only)."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def tokens_that_fit(free: int, activations: int, per_token: float) -> int:
    """Tokens for which there is memory beside the activations of one forward pass; all in bytes; at least 1."""
    return max(int(SHARE * (free - activations) / per_token), 1)


def cache_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes of one token's keys and values in all layers."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * dtype.itemsize)


def _tried(decoder: Decoder, device: torch.device, config: Any, reserved: int = 0) -> int:
    """The peak memory of the largest prefill."""
    chunk = decoder.core.chunk * 3 // 2
    length = min(chunk // 2, getattr(config, "max_position_embeddings", chunk) - 2)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    # rows with nothing in common, so that all are read whole
    rows = [[config.vocab_size - 1 - row] * length for row in range(chunk // length)]
    list(decoder.decode(rows, 2))
    held = decoder.core.kv_cache.bytes()
    activations = torch.cuda.max_memory_allocated(device) - before - held
    decoder.release()
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info(device)[0] - reserved
    return tokens_that_fit(free, activations, held / decoder.held)
