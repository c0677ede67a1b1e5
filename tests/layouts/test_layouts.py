"""Layouts: which shapes are read how, which are refused, and that every value lands at its place."""

import pytest
import torch
from torch import Tensor

from camtool.errors import ConfigError, LayoutError
from camtool.layouts import ChannelsFirst, ChannelsLast, Layout, Tokens, build_layout, fit_layout


def read(tensor: Tensor, size: tuple[int, ...], layout: Layout | None = None) -> Tensor:
    return fit_layout(tensor, tensor.shape[0], size, layout).to_maps(tensor, size)


@pytest.mark.parametrize(
    ("shape", "size", "layout", "maps"),
    [
        # ResNet, its early layers, an odd input, a network with unpadded convolutions
        ((2, 512, 7, 7), (224, 224), ChannelsFirst, (2, 512, 7, 7)),
        ((2, 64, 112, 112), (224, 224), ChannelsFirst, (2, 64, 112, 112)),
        ((2, 512, 8, 10), (256, 320), ChannelsFirst, (2, 512, 8, 10)),
        ((2, 2048, 8, 8), (299, 299), ChannelsFirst, (2, 2048, 8, 8)),
        ((2, 32, 26, 26), (28, 28), ChannelsFirst, (2, 32, 26, 26)),
        ((2, 2, 7, 7), (8, 8), ChannelsFirst, (2, 2, 7, 7)),
        # as many channels as rows: the convolutional standard wins
        ((2, 7, 7, 7), (224, 224), ChannelsFirst, (2, 7, 7, 7)),
        ((2, 64, 49, 1), (98, 2), ChannelsFirst, (2, 64, 49, 1)),
        # Swin
        ((2, 7, 7, 768), (224, 224), ChannelsLast, (2, 768, 7, 7)),
        ((2, 7, 7, 112), (224, 224), ChannelsLast, (2, 112, 7, 7)),  # 7x112 has whole strides, but 7x7 has one
        ((2, 8, 10, 768), (256, 320), ChannelsLast, (2, 768, 8, 10)),
        # ViT, DeiT distilled, DINOv2 with registers, Swin of mmpretrain, not square
        ((2, 197, 192), (224, 224), Tokens, (2, 192, 14, 14)),
        ((2, 198, 192), (224, 224), Tokens, (2, 192, 14, 14)),
        ((2, 261, 384), (224, 224), Tokens, (2, 384, 16, 16)),
        ((2, 49, 768), (224, 224), Tokens, (2, 768, 7, 7)),
        ((2, 321, 192), (256, 320), Tokens, (2, 192, 16, 20)),
        ((2, 320, 192), (320, 256), Tokens, (2, 192, 20, 16)),
        # 3x3 and 8 more, 8x9 and 8 more, 7x27 and 8 more would fit too
        ((2, 17, 192), (64, 64), Tokens, (2, 192, 4, 4)),
        ((2, 80, 96), (256, 320), Tokens, (2, 96, 8, 10)),
        ((2, 197, 192), (112, 448), Tokens, (2, 192, 7, 28)),
        ((2, 768, 196), (224, 224), Tokens, (2, 768, 14, 14)),  # channels before tokens
        # signals and volumes
        ((2, 16, 250), (1000,), ChannelsFirst, (2, 16, 250)),
        ((2, 64, 4, 8, 8), (32, 64, 64), ChannelsFirst, (2, 64, 4, 8, 8)),
        ((2, 64, 16, 7, 7), (16, 112, 112), ChannelsFirst, (2, 64, 16, 7, 7)),
        ((2, 4, 8, 8, 96), (32, 64, 64), ChannelsLast, (2, 96, 4, 8, 8)),
        ((2, 257, 96), (32, 64, 64), Tokens, (2, 96, 4, 8, 8)),
    ],
)
def test_layout_is_found_from_the_shape(shape: tuple[int, ...], size: tuple[int, ...], layout: type[Layout], maps: tuple[int, ...]) -> None:
    tensor = torch.zeros(shape)
    assert isinstance(fit_layout(tensor, 2, size), layout)
    assert read(tensor, size).shape == maps


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((2, 512, 1, 1), (224, 224), "single position, no spatial extent; choose a layer before the pooling"),
        ((2, 512, 1), (1000,), "single position"),
        ((2, 250, 1), (1000,), "single position"),
        ((2, 1, 448), (240, 240), "single token, no spatial extent"),  # the class token of CrossViT: 21x21 and 7 more would fit
        ((2, 1000), (224, 224), r"got 2"),
        ((6, 49, 96), (224, 224), "does not start with the batch of 2"),
        ((128, 49, 96), (224, 224), "does not start with the batch of 2: its samples are folded"),
        ((1, 196, 192), (224, 224), "does not start with the batch of 2"),
        ((2,), (224, 224), "does not start with the batch of 2"),
        ((), (224, 224), "does not start with the batch of 2"),
        # XCiT's class token between its last layers, 128 = 11x11 + 7; pooled channels; TNT's pixels, HiViT's units
        ((2, 1, 128), (224, 224), "a single token"),
        ((2, 196, 1), (224, 224), "middle axis may be channels"),
        ((196, 16, 24), (224, 224), "does not start with the batch of 2: its samples are folded"),
        ((2, 196, 4, 4, 96), (224, 224), "got 5"),
        ((2, 12, 197, 197), (224, 224), "looks like attention between tokens"),
        ((2, 3, 65, 65), (256, 256), "looks like attention"),
        ((2, 8, 49, 96), (224, 224), "no grid of that input"),
        ((2, 110, 192), (224, 224), "neither 110 nor 192 tokens make a grid of that input"),
        ((2, 64, 9, 31), (224, 224), r"last axes \(9, 31\) are no grid.*layout='ChannelsFirst'"),
    ],
)
def test_what_is_no_map_is_refused_in_words(shape: tuple[int, ...], size: tuple[int, ...], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        fit_layout(torch.zeros(shape), 2, size)


def coded(*grid: int) -> Tensor:
    """Return (1, 2, *grid): channel 0 numbers the positions in row-major order, channel 1 the same from 1000."""
    count = torch.Size(grid).numel()
    return torch.stack([torch.arange(count), 1000 + torch.arange(count)]).float().view(1, 2, *grid)


@pytest.mark.parametrize(("grid", "size"), [((14, 14), (224, 224)), ((7, 10), (224, 320)), ((25,), (100,)), ((2, 3, 4), (32, 48, 64))])
@pytest.mark.parametrize("extra", [0, 1, 2, 5])
def test_every_value_lands_at_its_place(grid: tuple[int, ...], size: tuple[int, ...], extra: int) -> None:
    maps = coded(*grid)
    cells = maps.flatten(2)
    assert torch.equal(ChannelsFirst().to_maps(maps, size), maps)
    assert torch.equal(ChannelsLast().to_maps(maps.movedim(1, -1), size), maps)
    tokens = torch.cat([torch.full((1, 2, extra), -1.0), cells], dim=2)
    layout = Tokens(num_extra_tokens=extra)
    assert layout.mismatch(tokens.transpose(1, 2).shape, size, given=True) is None
    assert torch.equal(layout.to_maps(tokens.transpose(1, 2), size), maps)


@pytest.mark.parametrize(
    ("shape", "size", "reading"),
    [
        ((2, 512, 7, 7), (224, 224), "NCHW"),
        ((2, 7, 7, 768), (224, 224), "NHWC"),
        ((2, 49, 768), (224, 224), "NLC"),
        ((2, 197, 768), (224, 224), "NLC + 1"),
        ((2, 198, 768), (224, 224), "NLC + 2"),
        ((2, 261, 384), (224, 224), "NLC + 5"),
        ((2, 768, 196), (224, 224), "NCL"),
        ((2, 768, 197), (224, 224), "NCL + 1"),
        ((2, 16, 250), (1000,), "NCW"),
        ((2, 64, 4, 8, 8), (32, 64, 64), "NCDHW"),
        ((2, 8, 4, 4, 768), (16, 112, 112), "NDHWC"),  # video Swin: time has a stride of its own
    ],
)
def test_a_layout_tells_the_axes_and_the_extra_tokens(shape: tuple[int, ...], size: tuple[int, ...], reading: str) -> None:
    assert str(fit_layout(torch.zeros(shape), 2, size).reading(shape, size)) == reading


def test_channels_of_a_video_are_not_taken_for_its_tokens() -> None:
    # 3072 is 3x32x32, every seventh position; 393 is 8x7x7 or 2x14x14 and a class token: nothing tells.
    with pytest.raises(LayoutError, match="neither 393 nor 3072 tokens make a grid"):
        fit_layout(torch.zeros(1, 393, 3072), 1, (16, 224, 224))


def test_channels_before_tokens_land_at_their_place() -> None:
    maps = torch.randn(1, 768, 14, 14)
    tokens = torch.cat([torch.zeros(1, 768, 1), maps.flatten(2)], dim=2)
    assert torch.equal(read(tokens, (224, 224)), maps)


@pytest.mark.parametrize(
    ("layout", "shape"), [(ChannelsLast(), (2, 250, 16)), (Tokens(), (2, 251, 16)), (Tokens(num_extra_tokens=1), (2, 251, 16))]
)
def test_of_a_signal_channels_first_is_believed_and_the_others_must_be_given(layout: Layout, shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape)
    assert torch.equal(read(tensor, (1000,)), tensor)  # (n, 250, 16) may be 250 channels at 16 positions: nothing tells
    assert torch.equal(read(tensor, (1000,), layout), tensor[:, -250:].transpose(1, 2))


@pytest.mark.parametrize(
    ("shape", "maps"),
    [
        ((1, 448, 49), (1, 448, 7, 7)),  # EfficientFormer: 448 is also 21x21 tokens and 7 extra, at a stride of 10.67
        ((1, 1024, 196), (1, 1024, 14, 14)),  # MLP-Mixer-L: 1024 is also 32x32 tokens, at a stride of 7
        ((1, 197, 1024), (1, 1024, 14, 14)),  # ViT-L
        ((1, 197, 576), (1, 576, 14, 14)),  # 576 is also 24x24 tokens, at a stride of 9.33
        ((1, 257, 1024), (1, 1024, 16, 16)),  # DINOv2-L, whose stride of 14 is no power of two
    ],
)
def test_the_likelier_grid_tells_which_axis_counts_tokens(shape: tuple[int, ...], maps: tuple[int, ...]) -> None:
    assert Tokens().to_maps(torch.zeros(shape), (224, 224)).shape == maps


def test_zero_extra_tokens_is_a_value_and_not_unknown() -> None:
    tensor = torch.zeros(1, 197, 8)
    assert read(tensor, (224, 224), Tokens()).shape == (1, 8, 14, 14)
    assert read(tensor, (224, 224), Tokens(num_extra_tokens=1)).shape == (1, 8, 14, 14)
    with pytest.raises(LayoutError, match="after 0 extra tokens"):
        read(tensor, (224, 224), Tokens(num_extra_tokens=0))
    assert read(torch.zeros(1, 196, 8), (224, 224), Tokens(num_extra_tokens=0)).shape == (1, 8, 14, 14)


def test_a_given_layout_overrides_what_the_shape_would_tell() -> None:
    square = torch.arange(7.0**3).view(1, 7, 7, 7)
    assert torch.equal(read(square, (224, 224)), square)
    assert torch.equal(read(square, (224, 224), ChannelsLast()), square.movedim(-1, 1))
    strange = torch.zeros(1, 16, 5, 31)
    with pytest.raises(LayoutError, match="layout='ChannelsFirst'"):
        read(strange, (224, 224))
    assert read(strange, (224, 224), ChannelsFirst()).shape == (1, 16, 5, 31)


@pytest.mark.parametrize("layout", [ChannelsFirst(), ChannelsLast(), Tokens()])
def test_a_given_layout_still_refuses_the_impossible(layout: Layout) -> None:
    with pytest.raises(LayoutError):
        fit_layout(torch.zeros(2, 8), 2, (224, 224), layout)
    with pytest.raises(LayoutError):
        fit_layout(torch.zeros(2, 1, 1, 1), 2, (224, 224), layout)
    with pytest.raises(LayoutError, match="batch of 3"):
        fit_layout(torch.zeros(2, 14, 14, 14), 3, (224, 224), layout)


def test_layouts_are_built_from_names_and_config_dicts() -> None:
    assert build_layout(None) is None
    assert isinstance(build_layout("ChannelsLast"), ChannelsLast)
    tokens = build_layout({"type": "Tokens", "num_extra_tokens": 2})
    assert isinstance(tokens, Tokens)
    assert tokens.num_extra_tokens == 2
    assert build_layout(tokens) is tokens


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("Token", "Unknown layout 'Token'; closest: 'Tokens'"),
        ({"num_extra_tokens": 1}, "a layout as a name or a dict with 'type'"),
        ({"type": "Tokens", "extra": 1}, "extra"),
        ({"type": "ChannelsLast", "num_extra_tokens": 1}, "ChannelsLast"),
        ({"type": "Tokens", "num_extra_tokens": -1}, "as a whole number, 0 or more, got -1"),
    ],
)
def test_wrong_layouts_are_refused_in_words(spec: str | dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_layout(spec)
