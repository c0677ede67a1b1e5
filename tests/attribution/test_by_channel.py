"""Parts of maps by channel of the input."""

import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import MethodError

pytestmark = pytest.mark.filterwarnings("ignore:.*no positive evidence")


def grouped(rank: int, channels: int, width: int, groups: int, classes: int = 3) -> nn.Module:
    """Return two grouped convolutions, which the head mixes."""
    kind, pool = ((nn.Conv1d, nn.AdaptiveAvgPool1d), (nn.Conv2d, nn.AdaptiveAvgPool2d), (nn.Conv3d, nn.AdaptiveAvgPool3d))[rank - 1]
    return nn.Sequential(
        kind(channels, width, 3, padding=1, groups=groups),
        nn.ReLU(),
        kind(width, width, 3, stride=2, padding=1, groups=groups),
        nn.ReLU(),
        kind(width, 4, 1),
        nn.ReLU(),
        pool(1),
        nn.Flatten(),
        nn.Linear(4, classes),
    )


def by_channel(model: nn.Module, *arguments: Any, asked: bool | None = True, **options: Any) -> CAM:
    cam = CAM(model, *arguments, **options)
    cam.by_channel = asked
    return cam


def grad_cam_of_blocks(model: nn.Module, inputs: Tensor, target: int, groups: int) -> Tensor:
    """Return by block of channels the sum of w_c A_c at layer 3 (n, groups, *feature), written out."""
    maps = []
    for sample in inputs:
        activations = model[:4](sample[None]).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(model[4:](activations)[0, target], activations)
        size = activations.shape[1] // groups
        of_sample = []
        for group in range(groups):
            total = torch.zeros_like(activations[0, 0])
            for channel in range(group * size, (group + 1) * size):
                total = total + gradient[0, channel].mean() * activations[0, channel]
            of_sample.append(total.detach())
        maps.append(torch.stack(of_sample))
    return torch.stack(maps)


@pytest.mark.parametrize("seed", range(9))
def test_parts_are_the_sums_of_their_blocks(seed: int) -> None:
    torch.manual_seed(seed)
    drawn = random.Random(seed)
    rank, groups, size = 1 + seed % 3, drawn.randint(2, 4), drawn.randint(1, 2)
    model, inputs = grouped(rank, groups * size, groups * 4, groups), torch.randn(2, groups * size, *[9] * rank)

    result = by_channel(model, "[3]")(inputs, [[0, 2], [0, 2]])

    parts = result.by_channel["[3]"]
    for k, target in enumerate((0, 2)):
        expected = grad_cam_of_blocks(model, inputs, target, groups).repeat_interleave(size, dim=1)
        torch.testing.assert_close(parts[:, k], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(parts[:, :, ::size].sum(dim=2), result.raw["[3]"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "hirescam", "layercam", "xgradcam", "cam", "ablationcam", "scorecam"])
def test_parts_of_every_sum_over_channels_add_up_to_its_map(method: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(3, 12, 5, padding=2, groups=3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 2))

    result = by_channel(model, "[1]", method)(torch.randn(2, 3, 30), 1)

    assert result.by_channel["[1]"].shape == (2, 3, 30)
    torch.testing.assert_close(result.by_channel["[1]"].sum(dim=1), result.raw["[1]"], rtol=1e-4, atol=1e-6)


def test_maps_of_channels_have_one_scale_and_their_places() -> None:
    torch.manual_seed(1)
    model, inputs = grouped(1, 2, 8, 2), torch.randn(1, 2, 20)
    result = by_channel(model, ["[1]", "[3]"])(inputs, 0)

    maps = result.channel_maps()
    one = result.channel_maps("[3]")
    signed = result.channel_maps("[3]", signed=True)

    assert maps is not None
    assert one is not None
    assert signed is not None
    assert maps.shape == (1, 2, 20)
    assert maps.min() >= 0
    assert maps.max() == 1
    raw = result.by_channel["[3]"]
    expected = F.interpolate(raw.clamp(min=0), 20, mode="linear", align_corners=False)
    torch.testing.assert_close(one, expected / expected.max(), rtol=1e-5, atol=1e-6)
    large = F.interpolate(raw, 20, mode="linear", align_corners=False)
    torch.testing.assert_close(signed, large / large.abs().max(), rtol=1e-5, atol=1e-6)


def test_methods_of_the_input_have_maps_of_channels_without_being_asked() -> None:
    torch.manual_seed(0)
    result = CAM(grouped(2, 3, 6, 3), method="saliency")(torch.randn(2, 3, 12, 12), [[0, 1], [1, 2]])

    maps = result.channel_maps()

    assert maps is not None
    assert maps.shape == (2, 2, 3, 12, 12)
    assert maps.flatten(2).amax(dim=2).eq(1).all()
    assert result.attributions is not None
    torch.testing.assert_close(maps[1, 0], result.attributions[1, 0].abs() / result.attributions[1, 0].abs().max())


def test_nothing_is_kept_or_asked_unless_it_is_wanted() -> None:
    model, inputs = grouped(1, 3, 12, 3), torch.randn(2, 3, 20)
    passes = []
    model.register_forward_pre_hook(lambda *_: passes.append(1))

    result = CAM(model, "[3]")(inputs)

    assert result.by_channel == {}
    assert result.channel_maps() is None
    assert len(passes) == 1


@pytest.mark.parametrize("options", [{"aug_smooth": True}, {"eigen_smooth": True}, {"target_layers": "[4]"}, {"method": "reciprocam"}])
def test_where_there_are_none_it_is_an_error_only_if_they_are_asked_for(options: dict[str, Any]) -> None:
    model, inputs = grouped(1, 3, 12, 3), torch.randn(1, 3, 20)
    options = {"target_layers": "[3]", **options}

    assert by_channel(model, asked=None, **options)(inputs, 0).by_channel == {}
    with pytest.raises(MethodError, match=r"expected|Expected|leave one of them out"):
        by_channel(model, **options)(inputs, 0)


class Rows(nn.Module):
    """Channels as rows of a picture, each convolved alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, (1, 9), stride=(1, 2), padding=(0, 4))
        self.meet = nn.Conv2d(4, 8, (3, 1))
        self.head = nn.Linear(8, 2)

    def forward(self, signals: Tensor) -> Tensor:
        return self.head(torch.relu(self.meet(torch.relu(self.conv(signals[:, None])))).mean((2, 3)))


class Spectra(nn.Module):
    """A spectrogram of each channel, made inside, and an LSTM behind grouped convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1, groups=3)
        self.lstm = nn.LSTM(6, 8, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, signals: Tensor) -> Tensor:
        window = torch.hann_window(32)
        spectra = torch.stft(signals.flatten(0, 1), 32, 16, window=window, return_complex=True).abs().unflatten(0, signals.shape[:2])
        return self.head(self.lstm(torch.relu(self.conv(spectra)).mean(2).mT)[0][:, -1])


@pytest.mark.parametrize("network", [Rows, Spectra])
def test_channels_are_kept_apart_by_whatever_keeps_them_apart(network: Any) -> None:
    torch.manual_seed(0)
    signals = torch.randn(2, 3, 160)

    result = by_channel(network(), "conv", "hirescam", asked=None)(signals, 1)

    parts = result.by_channel["conv"]
    assert parts.shape == (2, 3, result.raw["conv"].shape[1])
    torch.testing.assert_close(parts.sum(dim=1), result.raw["conv"], rtol=1e-4, atol=1e-6)
    assert (parts.abs().amax(dim=2) > 0).all()
