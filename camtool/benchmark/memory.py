"""Measure the peak memory of a call."""

import os
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(run: Callable[[], object], device: str) -> int:
    """Return the peak of allocated bytes of tensors during `run`, minus those allocated at its start.

    On CUDA as the caching allocator counts; on CPU from the profiler's record of torch's allocator. Scratch memory that a library
    allocates by itself within an operator is not counted.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler logs its stages to standard error
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    results = profiled.profiler.kineto_results
    changes = sorted((event for event in results.events() if event.name() == "[memory]"), key=lambda event: event.start_ns())
    allocated = peak = 0
    for change in changes:
        allocated += change.nbytes()
        peak = max(peak, allocated)
    return peak
