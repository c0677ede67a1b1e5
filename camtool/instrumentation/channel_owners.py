"""Which channels of the input each channel of a layer depends on: measured, by altering one channel of the input at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from camtool.types import Maps

Answers = Callable[[Tensor], Mapping[str, Maps]]
"""`answers(pictures)` returns by path the activations (n, c, *feature) of the layers for other inputs (n, channels, *spatial)."""

_ROUNDING = 1e-5  # of a layer's channel's largest value; a channel that is not altered gives the same numbers, or nearly
_SEED = 0


@dataclass(frozen=True)
class ChannelOwners:
    """Which channels of the input each channel of some layers depends on.

    Example:
        >>> import torch
        >>> owners = ChannelOwners(torch.tensor([0, 1]), {"conv": torch.tensor([0, 0, 1])})  # three channels of two inputs
        >>> owners.parts(torch.tensor([[[1.0], [2.0], [4.0]]]), "conv").tolist()
        [[[3.0], [4.0]]]
    """

    groups: Int[Tensor, " channels"]
    """By channel of the input the number of its group: channels that a layer mixes with each other are one group."""
    owners: Mapping[str, Int[Tensor, " c"]]
    """By path, of each of the layer's channels the group that it depends on; -1: none, as of a channel that is constant."""

    def parts(self, contributions: Maps, path: str) -> Float[Tensor, "n channels *feature"]:
        """Return by channel of the input the sum of the contributions of the layer's channels that depend on its group."""
        count = int(self.groups.max()) + 1
        chosen = self.owners[path][None] == torch.arange(count, device="cpu")[:, None]  # (groups, c)
        sums = torch.einsum("gc,nc...->ng...", chosen.to(contributions), contributions)
        return sums[:, self.groups.to(sums.device)]


def find_owners(answers: Answers, pictures: Float[Tensor, "n channels *spatial"]) -> ChannelOwners | None:
    """Return which channels of the input the channels of layers depend on; None if all belong together, or there is only one.

    Three passes tell it of a network whose channels all depend on the first one of the input; else one pass a channel, and two.

    Args:
        answers: asks the network.
        pictures: the inputs of a call.
    """
    channels = pictures.shape[1]
    if channels < 2:
        return None
    before = answers(pictures)
    generator = torch.Generator(device="cpu").manual_seed(_SEED)
    noise = torch.randn(pictures.shape, generator=generator, device="cpu").to(pictures)
    spread = pictures.flatten(2).std(dim=2, correction=0)[(..., *[None] * (pictures.ndim - 2))]
    altered = pictures + noise * torch.where(spread > 0, spread, 1)

    def reached(numbers: list[int]) -> Bool[Tensor, " c_of_all_layers"]:
        """Return which of the layers' channels change with these of the input."""
        mixed = pictures.clone()
        mixed[:, numbers] = altered[:, numbers]
        after = answers(mixed)
        return torch.cat([_changed(before[path], after[path]) for path in before])

    first = reached([0])
    if not (reached(list(range(1, channels))) & ~first).any():  # each channel depends on the first one
        return None
    reach = torch.stack([first, *(reached([channel]) for channel in range(1, channels))])
    groups = _components(reach)
    if int(groups.max()) == 0:
        return None
    owner = torch.where(reach.any(dim=0), groups[reach.int().argmax(dim=0)], -1)
    sizes = [maps.shape[1] for maps in before.values()]
    return ChannelOwners(groups, dict(zip(before, owner.split(sizes), strict=True)))


def _changed(before: Maps, after: Maps) -> Bool[Tensor, " c"]:
    first, second = (maps.detach().transpose(0, 1).flatten(1).cpu() for maps in (before, after))
    largest = torch.maximum(first.abs().amax(dim=1), second.abs().amax(dim=1))
    return (first - second).abs().amax(dim=1) > _ROUNDING * largest


def _components(reach: Bool[Tensor, "channels c"]) -> Int[Tensor, " channels"]:
    """Return the number of each row's component, from 0 in order: rows with a column in common belong together."""
    joined = reach.float() @ reach.float().T > 0
    joined |= torch.eye(len(reach), dtype=torch.bool, device="cpu")
    while True:
        further = joined.float() @ joined.float() > 0
        if further.equal(joined):
            break
        joined = further
    return joined.int().argmax(dim=1).unique(return_inverse=True)[1]
