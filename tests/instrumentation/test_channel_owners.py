"""Which channels of the input a layer's channels depend on."""

import random
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from camtool.instrumentation.channel_owners import ChannelOwners, find_owners
from camtool.types import Maps


class Layers:
    """Asks layers that follow each other for their outputs, and counts the passes."""

    def __init__(self, **layers: nn.Module) -> None:
        self.layers = layers
        self.passes = 0

    def __call__(self, pictures: Tensor) -> Mapping[str, Maps]:
        self.passes += 1
        outputs: dict[str, Maps] = {}
        with torch.no_grad():
            for name, layer in self.layers.items():
                pictures = outputs[name] = layer(pictures)
        return outputs


def convolution(rank: int, channels: int, width: int, groups: int) -> nn.Module:
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    return nn.Sequential(kind(channels, width, 3, padding=1, groups=groups), nn.ReLU())


@pytest.mark.parametrize("seed", range(24))
def test_grouped_convolutions_keep_their_blocks_apart_in_any_order(seed: int) -> None:
    torch.manual_seed(seed)
    drawn = random.Random(seed)
    rank, groups, size = drawn.choice([1, 2, 3]), drawn.randint(2, 5), drawn.randint(1, 3)
    channels, width = groups * size, groups * drawn.randint(3, 6)
    order, of_input = torch.randperm(width), torch.randperm(channels)  # as a shuffle of channels leaves them

    class Ordered(nn.Module):
        def __init__(self, indices: Tensor) -> None:
            super().__init__()
            self.indices = indices

        def forward(self, maps: Tensor) -> Tensor:
            return maps[:, self.indices]

    last = nn.Sequential(convolution(rank, width, width, groups), Ordered(order))
    layers = Layers(first=nn.Sequential(Ordered(of_input), convolution(rank, channels, width, groups)), last=last)
    owners = find_owners(layers, torch.randn(2, channels, *[7] * rank))

    assert owners is not None
    block_of_input = torch.empty(channels, dtype=torch.long)
    block_of_input[of_input] = torch.arange(channels) // size
    block = torch.arange(width) // (width // groups)
    for mine, other in ((0, 1), (channels - 1, 0)):
        assert (owners.groups[mine] == owners.groups[other]) == (block_of_input[mine] == block_of_input[other])
    for path, expected in (("first", block), ("last", block[order])):
        alive = owners.owners[path] >= 0  # a channel behind ReLU may be zero whatever it sees
        first_of_block = torch.stack([owners.groups[block_of_input == number][0] for number in range(groups)])
        assert owners.owners[path][alive].equal(first_of_block[expected[alive]])
        assert alive.float().mean() > 0.5


@pytest.mark.parametrize("channels", [2, 3, 12])
def test_three_passes_tell_that_a_layer_mixes_all_channels(channels: int) -> None:
    torch.manual_seed(channels)
    layers = Layers(conv=convolution(1, channels, 16, 1))

    assert find_owners(layers, torch.randn(3, channels, 20)) is None
    assert layers.passes == 3


def test_channels_that_meet_in_a_later_layer_belong_together() -> None:
    torch.manual_seed(0)
    layers = Layers(apart=convolution(1, 4, 8, 4), mixed=convolution(1, 8, 6, 1))

    assert find_owners(layers, torch.randn(2, 4, 20)) is None


def test_a_single_channel_is_never_asked_about() -> None:
    layers = Layers(conv=convolution(1, 1, 4, 1))

    assert find_owners(layers, torch.randn(2, 1, 20)) is None
    assert layers.passes == 0


def test_a_channel_that_the_network_does_not_read_has_no_part() -> None:
    conv = nn.Conv1d(3, 2, 1, bias=False)
    conv.weight.data = torch.tensor([[[1.0], [0.0], [0.0]], [[0.0], [0.0], [1.0]]])

    owners = find_owners(Layers(conv=conv), torch.randn(2, 3, 8))

    assert owners is not None
    assert owners.parts(torch.ones(1, 2, 4), "conv")[0, :, 0].tolist() == [1, 0, 1]


def test_constant_channels_of_the_input_and_of_the_layer() -> None:
    conv = nn.Conv1d(2, 3, 1, groups=1)
    conv.weight.data = torch.tensor([[[1.0], [0.0]], [[0.0], [1.0]], [[0.0], [0.0]]])

    owners = find_owners(Layers(conv=conv), torch.zeros(1, 2, 8))

    assert owners is not None
    assert owners.owners["conv"].tolist() == [0, 1, -1]


def test_channels_of_one_group_share_its_part() -> None:
    owners = ChannelOwners(torch.tensor([0, 1, 0]), {"conv": torch.tensor([1, 0, -1])})

    assert owners.parts(torch.tensor([[[1.0], [2.0], [4.0]]]), "conv").flatten().tolist() == [2, 1, 2]
