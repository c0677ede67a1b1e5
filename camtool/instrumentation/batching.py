"""Chunks of many copies of a sample, sized by the free memory."""

import os
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from camtool.errors import is_out_of_memory

Progress: TypeAlias = Callable[[str, int, int], None]
"""`progress(description, done, total)`, called between the chunks of long computations."""

AT_ONCE = {"cpu": 32, "cuda": 128}
"""Largest chunk by device type; more is not faster: a CPU's cache is full, and a GPU is busy."""
_PER_COPY = 64
"""Estimated memory of a copy's forward pass, in multiples of its own size."""


def chunk_size(copy: Tensor) -> int:
    """Return the number of copies like this one (a single sample) that are run at a time."""
    fitting = _free_memory(copy.device) // max(_PER_COPY * copy.numel() * copy.element_size(), 1)
    return int(min(max(fitting, 1), AT_ONCE.get(copy.device.type, AT_ONCE["cpu"])))


def in_chunks(count: int, size: int, run: Callable[[int, int], None], progress: Callable[[int, int], None] | None = None) -> None:
    """Call `run(start, stop)` for consecutive ranges of `count`; on out of memory, halve the range and continue.

    Raises:
        torch.OutOfMemoryError, RuntimeError: if a single copy does not fit.
    """
    start = 0
    while start < count:
        stop = min(start + size, count)
        try:
            run(start, stop)
        except RuntimeError as error:
            if not is_out_of_memory(error) or stop - start == 1:
                raise
            size = (stop - start) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        start = stop
        if progress is not None:
            progress(start, count)


def _free_memory(device: torch.device) -> int:
    """Return the free memory of the device in bytes; 8 GiB if it is unknown."""
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
