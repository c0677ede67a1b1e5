"""Chunks: many copies of a sample, as many at a time as memory holds."""

import os
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Progress: TypeAlias = Callable[[str, int, int], None]
"""`progress(what, done, total)`, called between chunks of what runs long."""

AT_ONCE = {"cpu": 32, "cuda": 128}
"""Copies at a time; more gains nothing: on a CPU they leave the cache, and a GPU is busy with these."""
_PER_COPY = 64
"""How many times its own size a copy is believed to need on its way through the network."""


def chunk_size(copy: Tensor) -> int:
    """Return how many copies like this one (a single sample) are run at a time."""
    fitting = _free_memory(copy.device) // max(_PER_COPY * copy.numel() * copy.element_size(), 1)
    return int(min(max(fitting, 1), AT_ONCE.get(copy.device.type, AT_ONCE["cpu"])))


def in_chunks(count: int, size: int, run: Callable[[int, int], None], progress: Callable[[int, int], None] | None = None) -> None:
    """Call `run(start, stop)` for consecutive ranges of `count`; out of memory halves them and goes on.

    Raises:
        torch.OutOfMemoryError, RuntimeError: where a single copy does not fit.
    """
    start = 0
    while start < count:
        stop = min(start + size, count)
        try:
            run(start, stop)
        except RuntimeError as error:
            if not _is_out_of_memory(error) or stop - start == 1:
                raise
            size = (stop - start) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        start = stop
        if progress is not None:
            progress(start, count)


def _is_out_of_memory(error: RuntimeError) -> bool:
    # The CPU's allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error) or "not enough memory" in str(error)


def _free_memory(device: torch.device) -> int:
    """Return bytes that can be had on the device; a guess of 8 GiB where it does not tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            (available,) = [line for line in lines if line.startswith("MemAvailable:")]
        return int(available.split()[1]) * 1024
    except (OSError, ValueError):
        try:
            return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):
            return 8 << 30
