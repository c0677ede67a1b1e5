"""Peak memory of a call: bytes of tensors beyond those that were there before it."""

import os
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(run: Callable[[], object], device: str) -> int:
    """Return the most bytes of tensors that were alive at once during `run`, above those alive at its start.

    On CUDA what the caching allocator counts; on CPU every allocation and release that the profiler sees in torch's allocator
    (scratch space that a library takes for itself within one operator is in neither).
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler remarks on its own stages on standard error
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    results = profiled.profiler.kineto_results
    changes = sorted((event for event in results.events() if event.name() == "[memory]"), key=lambda event: event.start_ns())
    alive = peak = 0
    for change in changes:
        alive += change.nbytes()
        peak = max(peak, alive)
    return peak
