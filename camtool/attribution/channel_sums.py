"""What a call keeps of the channels' contributions beside the maps: their sums, and their parts by channel of the input."""

import torch
from torch import Tensor

from camtool.attribution.context import CallContext
from camtool.errors import MethodError, some
from camtool.instrumentation.channel_owners import ChannelOwners, find_owners
from camtool.methods import BaseMethod, attributes_channels
from camtool.methods._base import sums_channels
from camtool.types import Maps

Kept = tuple[Tensor | None, Tensor | None]
"""Of one target: importances (n, c), and the parts of the raw map by channel of the input (n, channels, *feature)."""


class ChannelSums:
    """Importances and parts by channel of the input, by method and layer; see the fields of `CAMResult` of these names.

    Args:
        importances: whether they are kept.
        owners: which channels of the layers depend on which of the input; None: parts are not kept.
    """

    def __init__(self, *, importances: bool, owners: ChannelOwners | None) -> None:
        self._with_importances, self._owners = importances, owners
        self.importances: dict[str, dict[str, Tensor]] = {}
        """By method and path: (n, k, c)."""
        self.by_channel: dict[str, dict[str, Tensor]] = {}
        """By method and path: (n, k, channels of the input, *feature)."""

    def wanted(self, method: BaseMethod) -> bool:
        """Return whether anything is kept of a method."""
        return (self._with_importances or self._owners is not None) and sums_channels(method)

    def of(self, contributions: Maps, path: str) -> Kept:
        """Return what is kept of the contributions (n, c, *feature) of a layer's channels."""
        return (
            contributions.flatten(2).sum(dim=2) if self._with_importances else None,
            None if self._owners is None else self._owners.parts(contributions, path),
        )

    def keep(self, name: str, path: str, by_target: list[Kept], count: int) -> None:
        """Keep what there is of a method at a layer, for each of `count` targets; of one where all have the same."""
        for kept, tensors in zip((self.importances, self.by_channel), zip(*by_target, strict=True), strict=True):
            given = [tensor for tensor in tensors if tensor is not None]
            if given:
                stacked = torch.stack(given, dim=1)
                kept.setdefault(name, {})[path] = stacked.expand(-1, count, *stacked.shape[2:])


def owners_of(context: CallContext) -> ChannelOwners | None:
    """Return which channels of the input those of the target layers depend on; None if no parts are asked for, or there are none.

    Raises:
        MethodError: if parts are asked for, and the layers mix the channels.
    """
    if context.by_channel is False:
        return None
    if not any(map(sums_channels, context.layer_methods.values())):
        if context.by_channel and not any(map(attributes_channels, context.input_methods.values())):
            raise MethodError(
                "Expected a method whose map is a sum over channels, such as 'gradcam', or one of the input, such as 'saliency', for maps "
                f"by channel, got {some(context.names)}; add one, or leave by_channel out."
            )
        return None
    if context.by_channel is None and (context.aug_smooth or context.eigen_smooth):
        return None
    owners = find_owners(context.activations_of, context.inputs.picture)
    if owners is None and context.by_channel:
        count = context.inputs.picture.shape[1]
        raise MethodError(
            f"Expected target layers that keep the input's channels apart, got {some(list(context.layers))}, "
            + ("and an input of a single channel" if count == 1 else f"which mix all {count} of them")
            + "; try a layer before the channels meet, or leave by_channel out."
        )
    return owners
