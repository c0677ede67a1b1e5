"""Autocast, switched off for the arithmetic of maps and put back for further passes of the network."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch

# A context that is not entered cannot be left open by an interruption. Of autocast that would be a level too many, with which the copies
# of weights that it keeps are never dropped: the thread's later trainings in lower precision would not see their own steps.


def without_autocast(device: str) -> AbstractContextManager[Any]:
    """Return a context without autocast on this kind of device, in which arithmetic is float32 or wider.

    Example:
        >>> import torch
        >>> with torch.autocast("cpu", torch.bfloat16), without_autocast("cpu"):
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.float32
    """
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def current_autocast(device: str) -> Callable[[], AbstractContextManager[Any]]:
    """Return a function that returns the autocast context that is current now, for later passes of a network."""
    if not torch.is_autocast_enabled(device):
        return partial(without_autocast, device)
    return partial(torch.autocast, device, dtype=torch.get_autocast_dtype(device))
