"""Layouts of tensors with a spatial grid: (n, c, *spatial), (n, *spatial, c), and any other order of the axes."""

import math
from collections.abc import Sequence

from torch import Tensor

from camtool.errors import ConfigError, times
from camtool.layouts._base import Layout, Reading, has_one_scale, has_one_scale_in_plane, has_whole_strides
from camtool.layouts.tokens import token_grid
from camtool.registry import LAYOUTS
from camtool.types import Maps

MAX_LOST_CELLS = 6  # per axis, by three unpadded 3x3 convolutions: 26x26 of a 28x28 digit is a grid, not 25 + 1 tokens


@LAYOUTS.register_module()
class ChannelsFirst(Layout):
    """(n, c, *spatial): the output of convolutions.

    Example:
        >>> import torch
        >>> from camtool.layouts import ChannelsFirst
        >>> layout = ChannelsFirst()
        >>> layout.to_maps(torch.zeros(1, 8, 7, 7), (224, 224)).shape
        torch.Size([1, 8, 7, 7])
        >>> print(layout.mismatch((1, 8, 1, 1), (224, 224), given=False))
        it has a single position, no spatial extent; choose a layer before the pooling
    """

    def mismatch(self, shape: Sequence[int], input_size: Sequence[int], *, given: bool) -> str | None:
        if len(shape) != 2 + len(input_size):
            return f"expected {2 + len(input_size)} axes (n, c, *grid) or tokens (n, length, c), got {len(shape)} axes"
        grid = shape[2:]
        if math.prod(grid) == 1:
            return "it has a single position, no spatial extent; choose a layer before the pooling"
        if given:
            return None
        if _is_attention(grid, input_size):
            return (
                f"{grid[0]}x{grid[1]} looks like attention between tokens, not like a grid; choose a layer of features, or, if it is "
                "a grid, set layout='ChannelsFirst'"
            )
        if not (has_one_scale(grid, input_size) or has_whole_strides(grid, input_size)):
            return f"its last axes {tuple(grid)} are no grid of that input; if they are, set layout='ChannelsFirst'"
        if not has_one_scale(grid, input_size) and has_one_scale(shape[1:-1], input_size):
            return "its middle axes are the grid"
        return None

    def to_maps(self, tensor: Tensor, input_size: Sequence[int]) -> Maps:
        return tensor

    def from_maps(self, maps: Maps, like: Tensor, input_size: Sequence[int]) -> Tensor:
        return maps

    def reading(self, shape: Sequence[int], input_size: Sequence[int]) -> Reading:
        return Reading(f"NC{_letters(shape)}")


@LAYOUTS.register_module()
class ChannelsLast(Layout):
    """(n, *spatial, c): Swin of torchvision and timm, norms inside ConvNeXt blocks.

    Example:
        >>> import torch
        >>> from camtool.layouts import ChannelsLast
        >>> ChannelsLast().to_maps(torch.zeros(1, 7, 7, 96), (224, 224)).shape
        torch.Size([1, 96, 7, 7])
    """

    def mismatch(self, shape: Sequence[int], input_size: Sequence[int], *, given: bool) -> str | None:
        if len(shape) != 2 + len(input_size):
            return f"expected {2 + len(input_size)} axes (n, *grid, c), got {len(shape)} axes"
        grid = shape[1:-1]
        if math.prod(grid) == 1:
            return "it has a single position, no spatial extent"
        if not given and math.prod(shape[2:]) == 1:
            return "its middle axis may be channels"  # pooled features of a signal, (n, c, 1)
        if given or has_one_scale(grid, input_size) or has_one_scale_in_plane(grid, input_size):
            return None
        return f"its middle axes {tuple(grid)} are no grid of that input either"

    def to_maps(self, tensor: Tensor, input_size: Sequence[int]) -> Maps:
        return tensor.movedim(-1, 1)

    def from_maps(self, maps: Maps, like: Tensor, input_size: Sequence[int]) -> Tensor:
        return maps.movedim(1, -1).contiguous()

    def reading(self, shape: Sequence[int], input_size: Sequence[int]) -> Reading:
        return Reading(f"N{_letters(shape)}C")


@LAYOUTS.register_module()
class AxisOrder(Layout):
    """Axes in any order, one letter each: N samples, C channels, then D, H, W of which the last is that of the input's last axis.

    Args:
        axes: such as "NCWH" for a grid whose columns come before its rows. Several C are channels together: "NCCW" reads the features
            (n, c, frequency, time) of a spectrogram that a network makes of a signal, each channel at each frequency a channel of its own.

    Raises:
        ConfigError: if the letters are not N, C and one letter per spatial axis.

    Example:
        >>> import torch
        >>> from camtool.layouts import AxisOrder
        >>> AxisOrder(axes="NCWH").to_maps(torch.zeros(1, 8, 20, 10), (160, 320)).shape
        torch.Size([1, 8, 10, 20])
        >>> AxisOrder(axes="NCCW").to_maps(torch.zeros(1, 8, 40, 100), (16000,)).shape
        torch.Size([1, 320, 100])
    """

    def __init__(self, *, axes: str) -> None:
        channels = axes.count("C") if isinstance(axes, str) else 0
        rank = len(axes) - 1 - channels if channels else 0
        if rank < 1 or sorted(axes) != sorted("N" + channels * "C" + "DHW"[-rank:]):
            raise ConfigError(f"Expected axes as N, C and one letter per spatial axis of D, H, W, such as 'NCWH', got {axes!r}.")
        self.axes = axes
        self._channels = channels
        of_channels = [axis for axis, letter in enumerate(axes) if letter == "C"]
        self._order = [axes.index("N"), *of_channels, *(axes.index(letter) for letter in "DHW"[-rank:])]

    @property
    def batch_axis(self) -> int:
        return self._order[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AxisOrder) and self.axes == other.axes

    def __hash__(self) -> int:
        return hash(self.axes)

    def mismatch(self, shape: Sequence[int], input_size: Sequence[int], *, given: bool) -> str | None:
        spatial = self._order[1 + self._channels :]
        if len(spatial) != len(input_size):
            return f"its {len(spatial)} spatial axes {self.axes} are not those of the {times(input_size)} input"
        if len(shape) != len(self.axes):
            return f"expected {len(self.axes)} axes {self.axes}, got {len(shape)} axes"
        if math.prod(shape[axis] for axis in spatial) == 1:
            return "it has a single position, no spatial extent"
        return None if given else "an order of the axes that is not usual is not guessed"

    def to_maps(self, tensor: Tensor, input_size: Sequence[int]) -> Maps:
        return tensor.permute(self._order).flatten(1, self._channels)

    def from_maps(self, maps: Maps, like: Tensor, input_size: Sequence[int]) -> Tensor:
        channels = [like.shape[axis] for axis in self._order[1 : 1 + self._channels]]
        axes = maps.unflatten(1, channels)
        return axes.permute([self._order.index(axis) for axis in range(axes.ndim)]).contiguous()

    def channel_axes(self, shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(shape[axis] for axis in self._order[1 : 1 + self._channels])

    def reading(self, shape: Sequence[int], input_size: Sequence[int]) -> Reading:
        return Reading(self.axes)


def _letters(shape: Sequence[int]) -> str:
    return "DHW"[-(len(shape) - 2) :]


def _is_attention(grid: Sequence[int], input_size: Sequence[int]) -> bool:
    # (n, heads, L, L) has the shape of a square map; L then counts tokens, and no stride makes L cells of the input.
    square = len(grid) == 2 and grid[0] == grid[1]
    if square and 0 <= max(input_size) - grid[0] <= MAX_LOST_CELLS:
        return False
    return square and not has_whole_strides(grid, input_size) and token_grid(grid[0], input_size) is not None
