"""Copies of activations with one channel or all but one position set to zero."""

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.types import Maps


class OneChannelZero:
    """Copies `start` to `stop` of activations; in the k-th, channel k is zero.

    The buffer is reused for the next range: only the channels that differ are written, not all copies.
    """

    def __init__(self, activations: Maps) -> None:
        self._activations = activations
        self._buffer: Tensor | None = None
        self._zeroed: range = range(0)
        self._version = -1

    def __call__(self, start: int, stop: int) -> Float[Tensor, "n copies c *spatial"]:
        """Return copies `start` to `stop`; earlier ones are no longer valid."""
        count, activations = stop - start, self._activations
        # An in-place layer downstream may have changed the buffer.
        if self._buffer is None or self._buffer.shape[1] < count or self._buffer._version != self._version:
            self._buffer = activations.unsqueeze(1).repeat(1, count, *[1] * (activations.ndim - 1))
            self._zeroed = range(0)
        for copy, channel in enumerate(self._zeroed):
            self._buffer[:, copy, channel] = activations[:, channel]
        self._zeroed = range(start, stop)
        for copy, channel in enumerate(self._zeroed):
            self._buffer[:, copy, channel] = 0
        self._version = self._buffer._version
        return self._buffer[:, :count]


class OnePositionKept:
    """Copies `start` to `stop` of activations; in the k-th, all but the k-th position (row by row) are zero."""

    def __init__(self, activations: Maps) -> None:
        self._activations = activations

    def __call__(self, start: int, stop: int) -> Float[Tensor, "n copies c *spatial"]:
        """Return copies `start` to `stop`."""
        flat = self._activations.flatten(2)  # (n, c, positions)
        copies = flat.new_zeros(flat.shape[0], stop - start, *flat.shape[1:])
        places = torch.arange(start, stop, device=flat.device)
        copies[:, places - start, :, places] = flat[:, :, places].permute(2, 0, 1)
        return copies.unflatten(3, self._activations.shape[2:])
