"""Inputs whose axes are not (n, c, spatial): `input_axes` says which is which, and maps keep the input's spatial axes in its order."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolError
from tests.attribution.drawn import assert_drawn, counted, explained
from tests.networks import CONV
from tests.token_networks import Arrangement, TokenNet, pictures, raster_order
from tests.transformers import spread

SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "hidden_size": 24, "num_labels": 4}


def logits(output: Any) -> Tensor:
    return output.logits[:, 1].sum()


class FramesFirst(nn.Module):
    """A network of (n, t, c, h, w) around one of (n, c, t, h, w)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, frames: Tensor) -> Tensor:
        return self.inner(frames.transpose(1, 2))


class WithoutChannels(nn.Module):
    """A network of (n, *spatial) around one of (n, 1, *spatial)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs.unsqueeze(1))


class ChannelsLast(nn.Module):
    """A network of (n, h, w, c) around one of (n, c, h, w)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs.movedim(-1, 1))


def video_net(**options: Any) -> TokenNet:
    return TokenNet((8, 28, 28), (2, 7, 7), **{"extra": (1, 0, 0), "width": 49} | options)


def test_frames_may_come_before_channels() -> None:
    network = FramesFirst(video_net()).eval()
    inputs = pictures((8, 28, 28)).transpose(1, 2)
    result = assert_drawn(network, "inner.blocks[0]", inputs, network.inner.arrangement.maps, input_axes="ntchw")
    assert result.raw["inner.blocks[0]"].shape == (2, 4, 4, 4)
    assert result.maps.shape == (2, 8, 28, 28)


def test_frames_first_is_what_channels_first_is() -> None:
    inner = video_net().eval()
    plain, _ = explained(inner, "blocks[0]", pictures((8, 28, 28)))
    turned, _ = explained(FramesFirst(inner), "inner.blocks[0]", pictures((8, 28, 28)).transpose(1, 2), input_axes="ntchw")
    torch.testing.assert_close(turned.maps, plain.maps)


def test_as_many_frames_as_channels_do_not_confuse() -> None:
    network = FramesFirst(TokenNet((4, 28, 28), (1, 7, 7), channels=4, width=16)).eval()
    inputs = pictures((4, 28, 28), 2, 4)
    assert_drawn(network, "inner.blocks[0]", inputs, network.inner.arrangement.maps, input_axes="ntchw")


@pytest.mark.parametrize("order", ["raster", "column-major"])
def test_a_spectrogram_has_no_channels(order: str) -> None:
    network = WithoutChannels(TokenNet((64, 32), 8, channels=1, width=24, extra=(2, 0, 0), order=order)).eval()
    inputs = pictures((64, 32), 2, 1)[:, 0]
    result = assert_drawn(network, "inner.blocks[0]", inputs, network.inner.arrangement.maps, input_axes="ntf")
    assert result.raw["inner.blocks[0]"].shape == (2, 8, 4)
    assert result.maps.shape == (2, 64, 32)


def test_a_signal_may_have_its_channels_behind() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.head = CONV[1](6, 12, 5, 5), nn.Linear(12, 4)

        def forward(self, series: Tensor) -> Tensor:
            return self.head(self.convolution(series.transpose(1, 2)).tanh().mean(2))

    network = Recurrent().eval()
    result = assert_drawn(network, "convolution", pictures((100,), 2, 6).transpose(1, 2), lambda maps: maps, input_axes="ntc")
    assert result.maps.shape == (2, 100)


def test_a_picture_may_have_its_channels_behind() -> None:
    network = ChannelsLast(TokenNet((28, 42), 7, width=49, extra=(1, 0, 0))).eval()
    inputs = pictures((28, 42)).movedim(1, -1)
    result = assert_drawn(network, "inner.blocks[0]", inputs, network.inner.arrangement.maps, input_axes="nhwc")
    assert result.maps.shape == (2, 28, 42)


def test_the_networks_own_axes_are_what_it_is_called_with() -> None:
    network = FramesFirst(video_net()).eval()
    inputs = pictures((8, 28, 28), 1).transpose(1, 2)
    with counted(network) as passes:
        explained(network, "inner.blocks[0]", inputs, input_axes="ntchw")
    assert {tuple(arguments[0].shape[1:]) for arguments, _ in passes.inputs} == {(8, 3, 28, 28)}


@pytest.mark.parametrize("axes", ["ntchw", "nchw", "nt", "ncc", "ctf", "n", "", "nthww", "xyz"])
def test_axes_that_do_not_describe_the_input_are_refused_in_words(axes: str) -> None:
    network = WithoutChannels(TokenNet((64, 32), 8, channels=1)).eval()
    with pytest.raises(CamtoolError):
        CAM(network, "inner.blocks[0]", input_axes=axes)(pictures((64, 32), 2, 1)[:, 0], 1)


def test_the_usual_axes_may_be_said() -> None:
    network = TokenNet((28, 28), 7, width=16, extra=(1, 0, 0)).eval()
    for axes in ("nchw", None):
        assert_drawn(network, "blocks[0]", pictures((28, 28)), network.arrangement.maps, input_axes=axes)


@pytest.mark.parametrize("mean_pooling", [True, False])
def test_videomae_is_8x8x8_of_16_frames(mean_pooling: bool) -> None:
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    sizes = {"image_size": 64, "patch_size": 8, "num_frames": 16, "tubelet_size": 2}  # 512 tokens: 2x16x16 and 32x4x4, too
    network = spread(VideoMAEForVideoClassification(VideoMAEConfig(**SMALL, **sizes, use_mean_pooling=mean_pooling)))
    inputs = pictures((16, 64, 64), 1).transpose(1, 2)
    maps = Arrangement((8, 8, 8)).maps
    assert_drawn(network, "videomae.encoder.layer[1].layernorm_before", inputs, maps, input_axes="ntchw", score=logits)
    result, _ = explained(network, None, inputs, input_axes="ntchw")
    assert result.raw[result.layers[0]].shape == (1, 8, 8, 8)
    assert result.maps.shape == (1, 16, 64, 64)


def test_vivit_has_a_class_token_before_its_tubes() -> None:
    from transformers import VivitConfig, VivitForVideoClassification

    config = VivitConfig(**SMALL, image_size=64, num_frames=16, tubelet_size=[2, 16, 16])
    network = spread(VivitForVideoClassification(config))
    maps = Arrangement((8, 4, 4), front=1).maps
    inputs = pictures((16, 64, 64), 1).transpose(1, 2)
    assert_drawn(network, "vivit.layers[0]", inputs, maps, input_axes="ntchw", score=logits)
    result, _ = explained(network, None, inputs, input_axes="ntchw")
    assert result.raw[result.layers[0]].shape == (1, 8, 4, 4)


@pytest.mark.parametrize(("length", "mels", "grid"), [(128, 64, (12, 5)), (256, 128, (25, 12)), (64, 64, (5, 5))])
def test_audio_spectrogram_transformers_are_frequency_first(length: int, mels: int, grid: tuple[int, int]) -> None:
    from transformers import ASTConfig, ASTForAudioClassification

    network = spread(ASTForAudioClassification(ASTConfig(**SMALL, max_length=length, num_mel_bins=mels)))
    inputs = pictures((length, mels), 1, 1)[:, 0]
    maps = Arrangement(grid, front=2, order=raster_order("column-major", grid)).maps
    for path in ("layers[0]", "layers[1].layernorm_before"):
        assert_drawn(network, f"audio_spectrogram_transformer.{path}", inputs, maps, input_axes="ntf", score=logits)
    result, _ = explained(network, None, inputs, input_axes="ntf")
    assert result.raw[result.layers[0]].shape == (1, *grid)
    assert result.maps.shape == (1, length, mels)
