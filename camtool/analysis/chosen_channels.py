"""ChosenChannels: the map of some channels of a layer only."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.methods import BaseMethod
from camtool.methods._base import sums_channels
from camtool.types import Maps


class ChosenChannels(BaseMethod):
    """A method whose map is the sum over some channels only, each as the method weighs it among all of them.

    Args:
        method: its map is a sum over channels.
        name: of this method in results.
        mask: (c,) or (n, c), the factor of each channel, or of each sample's; None: 1.
        block: (number, blocks): only this one of so many contiguous blocks of channels, from 0.

    Raises:
        MethodError: if the method's map is no sum over channels; when used, if mask or blocks do not fit the layer's channels.

    Example:
        >>> import torch
        >>> from camtool.methods import Evidence, build_method
        >>> activations = torch.tensor([[[1.0, 2.0], [0.0, 4.0]]])
        >>> method = ChosenChannels(build_method("hirescam"), "the second", block=(1, 2))
        >>> method.raw_map(Evidence(activations, torch.ones_like(activations), lambda: None))
        tensor([[0., 4.]])
    """

    paper = "Li et al. 2024, arXiv:2407.01142"

    def __init__(
        self,
        method: BaseMethod,
        name: str,
        *,
        mask: Float[Tensor, "... c"] | None = None,
        block: tuple[int, int] = (0, 1),
    ) -> None:
        if not sums_channels(method):
            raise MethodError(f"The map of '{method.name}' is no sum over channels, of which some could be chosen; try 'hirescam'.")
        self.method, self.name, self._mask, self._block = method, name, mask, block
        self.needs, self.class_discriminative, self.fusion = method.needs, True, method.fusion

    def contributions(self, evidence: Any) -> Maps:
        whole = self.method.contributions(evidence)
        channels, (number, blocks) = whole.shape[1], self._block
        if channels % blocks:
            raise MethodError(f"Expected a number of groups that divides the layer's {channels} channels, got {blocks}.")
        if self._mask is not None:
            if self._mask.shape[-1] != channels:
                raise MethodError(f"Expected a mask of the layer's {channels} channels, got one of {self._mask.shape[-1]}.")
            whole = whole * self._mask.to(whole).view(-1, channels, *[1] * (whole.ndim - 2))
        size = channels // blocks
        return whole.narrow(1, number * size, size)
