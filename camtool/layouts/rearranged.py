"""Layout of a function of the user's own, as others' `reshape_transform`: from a layer's tensor to maps (n, c, *spatial)."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from camtool.errors import LayoutError
from camtool.layouts._base import Layout, Reading
from camtool.types import Maps


class Rearranged(Layout):
    """Maps by a function; if it only rearranges the tensor's numbers, maps are put back by the same rearrangement.

    Args:
        function: from a layer's tensor to maps (n, c, *spatial).

    Example:
        >>> import torch
        >>> from camtool.layouts import Rearranged
        >>> layout = Rearranged(lambda tokens: tokens[:, 1:].transpose(1, 2).unflatten(2, (14, 14)))
        >>> layout.to_maps(torch.zeros(2, 197, 8), (224, 224)).shape
        torch.Size([2, 8, 14, 14])
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function
        self._batch_axis = 0

    @property
    def batch_axis(self) -> int:
        """The axis of the samples, as the last tensor that was looked at tells."""
        return self._batch_axis

    def mismatch(self, shape: Sequence[int], input_size: Sequence[int], *, given: bool) -> str | None:
        expected = f"(n, c, *spatial) with {len(input_size)} spatial axes"
        try:
            maps = self._function(_numbers(shape))
        except Exception as error:  # noqa: BLE001 - a function of the user's own
            return f"the function given as its layout raises {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if not isinstance(maps, Tensor) or maps.ndim != 2 + len(input_size):
            got = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            return f"the function given as its layout returns {got}, expected {expected}"
        if math.prod(maps.shape[2:]) < 2:
            return "it has a single position, no spatial extent"
        axes = [axis for axis, length in enumerate(shape) if length == len(maps)]
        if not axes:
            return f"the function given as its layout returns {len(maps)} samples, expected as many as one axis of the tensor has"
        self._batch_axis = next((axis for axis in axes if _follows_samples(maps, shape, axis)), axes[0])
        return None

    def to_maps(self, tensor: Tensor, input_size: Sequence[int]) -> Maps:
        return self._function(tensor)

    def from_maps(self, maps: Maps, like: Tensor, input_size: Sequence[int]) -> Tensor:
        axis, one = self._batch_axis, like.narrow(self._batch_axis, 0, 1)
        places = self._function(_numbers(one.shape)).flatten().round().long()
        if int(places.min()) < 0 or int(places.max()) >= one.numel() or len(places.unique()) < len(places):
            raise LayoutError(
                "The function given as the layout does more than rearrange the tensor, so maps cannot be put back. Use a method that needs "
                "no scores of other activations, such as 'gradcam', or state a layout, such as dict(type='Tokens', grid=(14, 14), front=1)."
            )
        others = like.movedim(axis, 0).reshape(like.shape[axis], -1)
        back = others.expand(len(maps), -1).index_copy(1, places.to(maps.device), maps.flatten(1))
        rest = [length for place, length in enumerate(like.shape) if place != axis]
        return back.unflatten(1, rest).movedim(0, axis).contiguous()

    def channel_axes(self, shape: Sequence[int]) -> tuple[int, ...]:
        one = tuple(1 if axis == self._batch_axis else length for axis, length in enumerate(shape))
        first = self._function(_numbers(one)).flatten(2)[0, :, 0].round().long()  # of each channel, the number at the first cell
        if int(first.min()) < 0 or int(first.max()) >= math.prod(one):
            return ()
        coordinates = torch.unravel_index(first, one)
        # An axis along which the channels lie changes sooner, the faster it is.
        changes = {axis: int((places != places[0]).int().argmax()) for axis, places in enumerate(coordinates)}
        axes = sorted((axis for axis, change in changes.items() if change), key=lambda axis: -changes[axis])
        lengths = tuple(one[axis] for axis in axes)
        counted = torch.unravel_index(torch.arange(len(first), device="cpu"), lengths) if math.prod(lengths) == len(first) > 1 else ()
        return (
            lengths if counted and all(torch.equal(coordinates[axis], places) for axis, places in zip(axes, counted, strict=True)) else ()
        )

    def reading(self, shape: Sequence[int], input_size: Sequence[int]) -> Reading:
        letters = ["N" if axis == self._batch_axis else "?" for axis in range(len(shape))]
        return Reading("".join(letters), order="by a function")


def _numbers(shape: Sequence[int]) -> Tensor:
    """Return a tensor whose numbers are their own places."""
    return torch.arange(math.prod(shape), dtype=torch.float64, device="cpu").reshape(tuple(shape))


def _follows_samples(maps: Tensor, shape: Sequence[int], axis: int) -> bool:
    """Return whether the maps of each sample hold numbers of one element of an axis alone."""
    places = torch.unravel_index(maps.flatten(1).round().long().clamp(0, math.prod(shape) - 1), tuple(shape))[axis]
    return bool((places == torch.arange(len(maps), device="cpu").unsqueeze(1)).all())
