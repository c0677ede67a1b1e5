"""No re-entrant gradient checkpoints during a forward pass of camtool: their gradient exists for a whole `backward()` alone.

torch refuses `torch.autograd.grad` through them, and what is captured inside one has no graph behind it. Nothing is lost: a checkpoint
saves memory of the layers before the target layer, and those keep no graph here.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch.utils.checkpoint

_TORCH: Any = torch.utils.checkpoint


class _Pass:
    """A forward pass in progress."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()


class _DirectCalls:
    """Stands in for torch's CheckpointFunction; calls the checkpointed function itself in the threads of `passes`."""

    def __init__(self) -> None:
        self.original: Any = _TORCH.CheckpointFunction
        # Weak: a pass that is interrupted dies with its frame.
        self.passes: list[weakref.ref[_Pass]] = []

    def apply(self, function: Callable[..., Any], preserve_rng_state: bool, *arguments: Any) -> Any:
        """Return the function's output."""
        passes = [reference() for reference in list(self.passes)]
        if any(each is not None and each.thread == threading.get_ident() for each in passes):
            return function(*arguments)
        return self.original.apply(function, preserve_rng_state, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


# torch looks the function up by name, for the whole process; other threads get the original through it.
_DIRECT = _DirectCalls()


@contextmanager
def without_reentrant_checkpoints() -> Iterator[None]:
    """Run checkpointed functions of this thread as if they were not, inside the block; other threads are as before."""
    current = _Pass()
    reference = weakref.ref(current)
    try:
        _DIRECT.passes.append(reference)
        _install()
        yield
    finally:
        for each in list(_DIRECT.passes):
            if each is reference or each() is None:  # a pass that was interrupted before it came here
                with suppress(ValueError):  # removed by another thread
                    _DIRECT.passes.remove(each)
        if not _DIRECT.passes:
            if _TORCH.CheckpointFunction is _DIRECT:
                _TORCH.CheckpointFunction = _DIRECT.original
            if _DIRECT.passes:  # of a thread that came meanwhile
                _install()


def _install() -> None:
    if _TORCH.CheckpointFunction is not _DIRECT:
        _DIRECT.original = _TORCH.CheckpointFunction
        _TORCH.CheckpointFunction = _DIRECT
