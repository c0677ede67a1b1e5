"""Networks that make a spectrogram of a signal, or rows of its channels: features of more axes than the input are read over its time."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolError
from camtool.layouts import AxisOrder

RATE, PITCH = 4000, 900.0


class OfSpectrogram(nn.Module):
    """Scores of a spectrogram that the network makes of a signal (n, 1, t): convolutions of two axes, their mean, one linear layer."""

    def __init__(self, window: int = 128, hop: int = 32, channels: int = 8, *, time_first: bool = False, center: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.register_buffer("window", torch.hann_window(window))
        self.hop, self.time_first, self.center = hop, time_first, center
        self.features = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(channels, 3)

    def forward(self, signals: Tensor) -> Tensor:
        waves = torch.stft(signals[:, 0], len(self.window), self.hop, window=self.window, center=self.center, return_complex=True)
        spectrogram = waves.abs().square().log1p().unsqueeze(1)
        features = self.features(spectrogram.mT if self.time_first else spectrogram)
        return self.head(features.mean(dim=(2, 3)))


class OfRows(nn.Module):
    """Scores of channels that stand under each other as rows, as networks of electroencephalograms take them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.temporal = nn.Conv2d(1, 4, (1, 15), padding=(0, 7))
        self.spatial = nn.Sequential(nn.Conv2d(4, 8, (5, 1), groups=4), nn.ELU(), nn.AvgPool2d((1, 4)))
        self.head = nn.Linear(8, 2)

    def forward(self, signals: Tensor) -> Tensor:
        return self.head(self.spatial(self.temporal(signals.unsqueeze(1))).mean(dim=(2, 3)))


def tones(length: int = 4000, start: int = 2000, end: int = 2600) -> Tensor:
    """Return two signals (2, 1, length) of faint noise with a tone in a part of them."""
    signals = 0.05 * torch.randn(2, 1, length, generator=torch.Generator().manual_seed(3))
    signals[:, :, start:end] += torch.sin(2 * torch.pi * PITCH / RATE * torch.arange(start, end))
    return signals


@pytest.mark.parametrize(("window", "hop"), [(128, 32), (256, 100), (64, 64)])
@pytest.mark.parametrize("time_first", [False, True])
def test_frequencies_are_channels_and_time_is_measured(window: int, hop: int, time_first: bool) -> None:
    network, signals = OfSpectrogram(window, hop, time_first=time_first).eval(), tones()

    result = CAM(network, "features")(signals, [0, 0])

    def over_time(features: Tensor) -> Tensor:
        return (features.mT if time_first else features).flatten(1, 2)

    assert result.layout_evidence == {"features": "measured"}
    expected = CAM(network, "features", layout=over_time)(signals, [0, 0])
    assert torch.equal(result.maps, expected.maps)
    assert result.maps.shape == (2, 4000)
    # Behind the mean stands one linear layer: the weights are its own, and Grad-CAM sums their features over the frequencies.
    features = network.features(_spectrogram(network, signals))
    by_hand = (features * network.head.weight[0].view(1, -1, 1, 1)).sum(dim=(1, 3 if time_first else 2)) / features[0, 0].numel()
    torch.testing.assert_close(result.raw["features"], by_hand.detach(), rtol=1e-4, atol=1e-6)


def _spectrogram(network: OfSpectrogram, signals: Tensor) -> Tensor:
    waves = torch.stft(signals[:, 0], len(network.window), network.hop, window=network.window, return_complex=True)
    spectrogram = waves.abs().square().log1p().unsqueeze(1)
    return spectrogram.mT if network.time_first else spectrogram


@pytest.mark.parametrize("method", ["gradcam", "layercam", "scorecam", "ablationcam", "eigencam"])
def test_the_map_lies_at_the_tone(method: str) -> None:
    network = OfSpectrogram(channels=2).eval()
    with torch.no_grad():  # a loud bin speaks for class 0
        network.features[0].weight.fill_(1 / 9)
        network.features[0].bias.zero_()
        network.head.weight.fill_(1.0)

    saliency = CAM(network, method=method)(tones(), [0, 0]).maps

    middle = saliency[:, 1900:2700].sum(dim=1) / saliency.sum(dim=1)
    assert bool((middle > 0.6).all()), middle  # a fifth of the time


OFF = 0.05
"""Largest error of a measured shift, in cells. Of 120 networks (five lengths, hops and windows, centred or not) with tones it was 0.03,
with noise 0.07."""


@pytest.mark.filterwarnings("ignore:.*no positive evidence")
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("tap", [0, 1, 2], ids=["the frame before", "the frame itself", "the frame behind"])
@pytest.mark.parametrize("center", [True, False], ids=["centred", "from the first sample"])
@pytest.mark.parametrize(("length", "window", "hop"), [(4000, 256, 100), (4000, 512, 64), (4090, 128, 100)])
def test_measured_places_are_those_of_the_frames_that_the_kernels_see(
    length: int, window: int, hop: int, center: bool, tap: int, seed: int
) -> None:
    network = OfSpectrogram(window, hop, center=center).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        kernels = torch.zeros_like(network.features[0].weight)
        kernels[..., tap] = torch.randn(kernels.shape[:3])
        network.features[0].weight.copy_(kernels)
    signals = torch.cat([tones(length, start, start + 600) for start in (300, 2900)])

    placement = CAM(network, "features", placement="measured")(signals, [0] * 4).placement["features"]

    # The centre of a pair of frames, and of what the kernel sees of it, in the middle of the signal; a frame's is that of its window.
    first = 0.0 if center else window / 2
    frames = (length + (0 if center else -window)) // hop + 1
    middle = first + hop * (frames // 2 * 2 - 1) / 2 + (tap - 1) * hop
    cells = frames // 2
    found = placement.scale[0] * (cells - 1) / 2 + placement.offset[0]
    assert placement.scale[0] == length / cells
    assert abs(found - middle) < OFF * placement.scale[0]


def test_as_many_channels_as_the_stride_are_no_heads() -> None:
    # 64 channels of 62 frames are 3968 numbers, as the signal has: the split of tokens into heads looks so, in pictures.
    network = nn.Sequential(OfSpectrogram(channels=64)).eval()
    assert CAM(network).probe(tones(3968)[:1]).default_layer()[0] == "[0].features[2]"


def test_rows_of_channels() -> None:
    signals = torch.randn(1, 5, 400, generator=torch.Generator().manual_seed(0))
    found = {layer.path: str(layer.reading) for layer in CAM(OfRows().eval()).probe(signals).layers if layer.reading}
    assert {path: found[path] for path in ("temporal", "spatial")} == {"temporal": "NCCW", "spatial": "NCCW"}


def test_several_axes_of_channels_are_put_back() -> None:
    tensor = torch.randn(2, 3, 7, 5)
    for axes, last in (("NCCW", (2, 21, 5)), ("NCWC", (2, 15, 7)), ("NWCC", (2, 35, 3))):
        layout = AxisOrder(axes=axes)
        maps = layout.to_maps(tensor, (100,))
        assert maps.shape == last
        assert torch.equal(layout.from_maps(maps, tensor, (100,)), tensor)
    with pytest.raises(CamtoolError, match="1 spatial axes NCCW are not those of the 10x10 input"):
        CAM(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), "[0]", layout=AxisOrder(axes="NCCW"))(torch.rand(1, 1, 10, 10))


def test_a_stack_of_bands_over_a_picture() -> None:
    class OfBands(nn.Module):
        """Scores of a picture of many bands, whose convolutions have three axes."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.features = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU())
            self.head = nn.Linear(4, 2)

        def forward(self, pictures: Tensor) -> Tensor:
            return self.head(self.features(pictures.unsqueeze(1)).mean(dim=(2, 3, 4)))

    network, pictures = OfBands().eval(), torch.rand(1, 6, 24, 20, generator=torch.Generator().manual_seed(0))
    result: Any = CAM(network, "features")(pictures, [0])
    expected = CAM(network, "features", layout=lambda features: features.flatten(1, 2))(pictures, [0])
    assert torch.equal(result.maps, expected.maps)
