"""Which element of a layer looks where: maps of layers whose arrangement is known, against Grad-CAM by hand with that arrangement."""

import random
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolError
from tests.attribution.drawn import assert_drawn, assert_right_or_told, explained
from tests.token_networks import (
    CellNet,
    Detector,
    MixedTokens,
    PicturesAndWords,
    QueryNet,
    RecurrentSignal,
    TokenNet,
    TwoBranches,
    WindowNet,
    WordsOfPictures,
    pictures,
    words,
)

NORMS = (None, nn.LayerNorm, nn.RMSNorm)


def token_net(*arguments: Any, **options: Any) -> TokenNet:
    return TokenNet(*arguments, **options).eval()


def random_net(seed: int) -> tuple[TokenNet, Tensor]:
    """Return a transformer with everything about its tokens drawn at random, and pictures for it."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    rank = 1 + seed % 3
    grid = [draw.randint(*{1: (12, 40), 2: (4, 9), 3: (3, 5)}[rank]) for _ in range(rank)]
    patch = [draw.randint(2, {1: 8, 2: 6, 3: 4}[rank]) for _ in range(rank)]
    size = [cells * cell for cells, cell in zip(grid, patch, strict=True)]
    length = torch.tensor(grid).prod().item()
    front = draw.choice([0, 1, 1, 2, 5])
    width = draw.choice([13, 16, 25, 36, 48, 49, 64, 81, length, length + front, max(size)])
    norm, axes = draw.choice([nn.LayerNorm, nn.RMSNorm]), draw.choice(["nlc", "nlc", "lnc", "ncl"])
    network = token_net(size, patch, width=width, channels=draw.choice([1, 3]), extra=(front, 0, 0), axes=axes, norm=norm)
    return network, pictures(size, draw.choice([1, 2, 3]), network.patches.in_channels)


@pytest.mark.parametrize("seed", range(18))
def test_tokens_of_any_transformer_are_drawn_where_they_look(seed: int) -> None:
    network, inputs = random_net(seed)
    method = ("gradcam", "hirescam")[seed % 2]
    assert_drawn(network, "blocks[0]", inputs, network.arrangement.maps, method=method)


# Published widths are square numbers, grids of the input, or the length of the tokens themselves: none of it says anything.
@pytest.mark.parametrize(
    ("size", "patch", "front", "width"),
    [
        ((32, 32), 8, 1, 16),  # 16 channels could be 4x4
        ((32, 32), 8, 1, 64),  # 8x8, of half the stride: the likelier grid by shape
        ((28, 28), 7, 1, 56),
        ((28, 28), 7, 1, 49),
        ((72, 72), 8, 1, 144),  # 12x12, and 9x9 + 1 tokens
        ((32, 32), 8, 0, 16),  # as many channels as tokens
        ((32, 32), 8, 1, 17),
        ((24, 48), 8, 1, 72),  # 3x6 cells; 6x12 channels
        ((128,), 8, 0, 64),
        ((128,), 8, 1, 32),
        ((8, 16, 16), (2, 4, 4), 1, 64),
        ((8, 16, 16), (2, 4, 4), 0, 32),
    ],
)
def test_channels_are_never_taken_for_positions_whatever_the_width(size: tuple[int, ...], patch: Any, front: int, width: int) -> None:
    network = token_net(size, patch, extra=(front, 0, 0), width=width)
    for path in ("blocks[0]", "blocks[1].norm1"):
        assert_drawn(network, path, pictures(size), network.arrangement.maps, evidence="measured")


@pytest.mark.parametrize("axes", ["nlc", "ncl", "lnc"])
@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm, nn.Identity])
def test_the_axis_of_a_signals_tokens_does_not_follow_from_the_norm(norm: Callable[..., nn.Module], axes: str) -> None:
    network = token_net((300,), 10, width=24, channels=1, norm=norm, axes=axes)
    assert_drawn(network, "blocks[0]", pictures((300,), channels=1), network.arrangement.maps)


@pytest.mark.parametrize(
    ("size", "patch", "stride", "front"),
    [
        ((32, 32), 8, 4, 1),  # half the stride of an unchanged patch: 7x7
        ((36, 52), 8, 5, 1),  # 6x9
        ((40, 40), 10, 6, 2),  # 6x6
        ((100,), 16, 7, 1),  # 13
        ((8, 20, 20), (4, 8, 8), (2, 4, 4), 1),  # 3x4x4
    ],
)
def test_overlapping_patches_lose_cells_at_the_border(size: tuple[int, ...], patch: Any, stride: Any, front: int) -> None:
    network = token_net(size, patch, stride=stride, extra=(front, 0, 0), width=24)
    assert_drawn(network, "blocks[0]", pictures(size), network.arrangement.maps)


@pytest.mark.parametrize(
    ("size", "patch", "front"), [((16, 56, 56), (2, 8, 8), 0), ((16, 56, 56), (2, 8, 8), 1), ((16, 32, 32), (2, 4, 4), 1)]
)
def test_time_of_a_video_has_a_stride_of_its_own(size: tuple[int, ...], patch: tuple[int, ...], front: int) -> None:
    network = token_net(size, patch, extra=(front, 0, 0), width=12)  # 8x7x7 tubes are 2x14x14 of another stride, 8x8x8 are 32x4x4
    assert_drawn(network, "blocks[0]", pictures(size, 1), network.arrangement.maps)


@pytest.mark.parametrize(
    "extra",
    [(0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 0, 6), (11, 0, 0), (0, 0, 4), (2, 1, 3), (1, 0, 24)],
    ids=lambda extra: "-".join(map(str, extra)),
)
@pytest.mark.parametrize("size", [(48, 48), (400,)], ids=["picture", "signal"])
def test_extra_tokens_stand_in_front_in_the_middle_or_behind(size: tuple[int, ...], extra: tuple[int, int, int]) -> None:
    network = token_net(size, 8, extra=extra, width=20)  # 6x6 or 50 cells
    assert_drawn(network, "blocks[0]", pictures(size), network.arrangement.maps, method="hirescam", evidence="measured")


def test_fifty_prompts_and_a_class_token_stand_in_front_and_a_hundred_boxes_behind() -> None:
    for extra in ((51, 0, 0), (1, 0, 100)):
        network = token_net((112, 112), 8, extra=extra, width=16, depth=1)  # 14x14
        assert_drawn(network, "blocks[0].norm1", pictures((112, 112), 1), network.arrangement.maps)


@pytest.mark.parametrize(
    ("size", "patch", "stride", "front"),
    [((64, 40), 8, 8, 0), ((64, 32), 8, 8, 2), ((52, 28), 8, 5, 2), ((8, 16, 12), (2, 4, 4), (2, 4, 4), 1)],
)
def test_the_last_axis_may_come_first_as_in_spectrograms(size: tuple[int, ...], patch: Any, stride: Any, front: int) -> None:
    network = token_net(size, patch, stride=stride, extra=(front, 0, 0), width=24, order="column-major", channels=1)
    assert_drawn(network, "blocks[0]", pictures(size, channels=1), network.arrangement.maps)


@pytest.mark.parametrize(("size", "patch"), [((32, 32), 4), ((48, 32), 8), ((56, 56), 4), ((64,), 4), ((8, 16, 16), (2, 4, 4))])
def test_cells_in_windows_are_put_in_order(size: tuple[int, ...], patch: Any) -> None:
    network = token_net(size, patch, order="windows", width=20)
    assert_drawn(network, "blocks[0]", pictures(size), network.arrangement.maps, evidence="measured")


@pytest.mark.parametrize("order", ["snake", "backwards", "shuffled"])
@pytest.mark.parametrize("front", [0, 1])
@pytest.mark.parametrize("size", [(32, 48), (80,), (8, 12, 16)], ids=["picture", "signal", "volume"])
def test_any_other_order_is_found_or_refused(size: tuple[int, ...], front: int, order: str) -> None:
    patch = 8 if len(size) < 3 else 4
    network = token_net(size, patch, order=order, extra=(front, 0, 0), width=20)
    assert_right_or_told(network, "blocks[0]", pictures(size), network.arrangement.maps)


@pytest.mark.parametrize("count", [1, 2, 4, 16, 17])
@pytest.mark.parametrize("path", ["blocks[0]", "blocks[1].norm1", "blocks[1]"])
def test_length_first_tokens_are_drawn_for_every_batch_also_one_as_large_as_the_length(path: str, count: int) -> None:
    network = token_net((32, 32), 8, extra=(1, 0, 0), axes="lnc", width=16)
    assert_drawn(network, path, pictures((32, 32), count), network.arrangement.maps, evidence="measured")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("last", [False, True], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("size", "stride", "width"),
    [
        ((32, 32), 4, 8),  # a cube: nothing in the shape says which axis the channels are
        ((32, 48), 4, 8),
        ((48, 32), 4, 8),
        ((32, 48), 4, 12),
        ((48, 48), 2, 24),
        ((64,), 4, 16),
        ((64,), 4, 12),
        ((16, 16, 16), 4, 4),
        ((16, 16, 24), 4, 4),
    ],
)
def test_cubes_of_cells_and_channels_are_read_by_measurement(
    size: tuple[int, ...], stride: int, width: int, last: bool, norm: Callable[[int], nn.Module] | None
) -> None:
    network = CellNet(len(size), stride, width, last=last, norm=norm).eval()
    assert_drawn(network, "block", pictures(size), network.maps)


@pytest.mark.parametrize("seed", range(8))
def test_cells_of_any_convolutional_network_are_drawn_where_they_look(seed: int) -> None:
    draw = random.Random(seed)
    torch.manual_seed(seed)
    rank, stride = 1 + seed % 3, draw.choice([2, 4])
    size = [stride * draw.randint(4, 10) for _ in range(rank)]
    network = CellNet(
        rank, stride, draw.choice([size[0] // stride, size[-1] // stride, 7, 20]), last=bool(draw.getrandbits(1)), norm=draw.choice(NORMS)
    ).eval()
    assert_drawn(network, "block", pictures(size, draw.choice([1, 2, network.head.in_features])), network.maps)


@pytest.mark.parametrize("path", ["convolution", "recurrent"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_states_of_a_recurrent_network_lie_over_time(batch_first: bool, path: str) -> None:
    network = RecurrentSignal(batch_first=batch_first).eval()
    maps = network.maps if path == "recurrent" else (lambda tensor: tensor)
    for count in (1, 2, 60):
        assert_drawn(network, path, pictures((600,), count, 1), maps, method="hirescam")


def test_both_branches_of_a_network_have_grids_of_their_own() -> None:
    network = TwoBranches().eval()
    for path, branch in (("norms[0]", network.coarse), ("norms[1]", network.fine), ("fine.blocks[0]", network.fine)):
        assert_drawn(network, path, pictures((32, 32)), branch.arrangement.maps)


@pytest.mark.parametrize("length", [4, 5, 9, 16, 17, 20, 64, 77])
def test_words_are_no_positions_of_the_picture(length: int) -> None:
    network = PicturesAndWords().eval()
    inputs = {"pixel_values": pictures((32, 32), 1), "input_ids": words(1, length)}
    path, only = "vision.blocks[1].norm1", lambda scores: scores[:, 0].sum()
    assert_drawn(network, path, inputs, network.vision.arrangement.maps, score=only, target=0)
    for path in ("text.blocks[0]", "text.blocks[1].norm1", "text.embedding"):
        with pytest.raises(CamtoolError):
            explained(network, path, inputs, target=0)


@pytest.mark.parametrize("count", [4, 16, 20, 64, 100])
def test_queries_latents_and_words_that_read_the_picture_are_never_measured_as_its_positions(count: int) -> None:
    queries, captions = QueryNet(count).eval(), WordsOfPictures().eval()
    cases: list[tuple[nn.Module, Any]] = [
        (queries, pictures((32, 32))),
        (captions, {"pixel_values": pictures((32, 32)), "input_ids": words(2, count)}),
    ]
    for (network, inputs), path in product(cases, ("decoder.norm", "decoder.block")):
        assert_right_or_told(network, path, inputs, None, unmeasurable=True)


@pytest.mark.parametrize("count", [1, 2, 4, 16])
def test_windows_folded_into_the_batch_are_refused_whatever_the_batch(count: int) -> None:
    network = WindowNet().eval()
    with pytest.raises(CamtoolError):
        explained(network, "windows", pictures((32, 32), count))


@pytest.mark.parametrize("anchors", [2, 3, 9])
def test_anchors_of_one_cell_are_not_several_cells(anchors: int) -> None:
    assert_right_or_told(Detector(anchors).eval(), "boxes", pictures((64, 64)), None)


def test_a_layer_that_looks_everywhere_is_refused_with_its_readings_and_how_to_state_one() -> None:
    network = MixedTokens().eval()  # 16 tokens of 36 channels: 4x4 or 6x6
    with pytest.raises(CamtoolError, match=r"layout=dict\(type='Tokens'") as refused:
        explained(network, "mixing", pictures((32, 32)))
    assert "4x4" in str(refused.value)
    assert "6x6" in str(refused.value)


@pytest.mark.parametrize("width", [7, 16, 36])
def test_a_layer_that_looks_everywhere_is_drawn_only_where_the_result_says_that_nothing_was_measured(width: int) -> None:
    mixed = MixedTokens(width=width).eval()
    assert_right_or_told(mixed, "mixing", pictures((32, 32)), None, unmeasurable=True)
    without_residual = token_net((32, 32), 8, extra=(1, 0, 0), width=width, residual=False)
    assert_right_or_told(without_residual, "blocks[1]", pictures((32, 32)), without_residual.arrangement.maps, unmeasurable=True)


def test_a_layer_without_residual_before_any_mixing_is_measured() -> None:
    network = token_net((32, 32), 8, extra=(1, 0, 0), width=16, residual=False)
    assert_drawn(network, "blocks[0].norm1", pictures((32, 32)), network.arrangement.maps)


def test_a_plain_convolutional_layer_has_only_one_reading_and_says_so() -> None:
    network = torchvision.models.resnet18(num_classes=4).eval()
    result, remarks = explained(network, "layer3", pictures((64, 64), 1))
    assert result.layout_evidence == {"layer3": "only reading"}
    assert not remarks


def test_several_layers_have_evidence_each() -> None:
    class Hybrid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 3, padding=1)
            self.body = TokenNet((32, 32), 8, channels=6, width=16, extra=(1, 0, 0))

        def forward(self, images: Tensor) -> Tensor:
            return self.body(self.stem(images).relu())

    result, _ = explained(Hybrid().eval(), ["stem", "body.blocks[0]"], pictures((32, 32)))
    assert result.layout_evidence == {"stem": "only reading", "body.blocks[0]": "measured"}
    assert result.raw["body.blocks[0]"].shape == (2, 4, 4)


@pytest.mark.parametrize("seed", range(6))
def test_the_probe_gives_every_layer_of_tokens_the_grid_that_it_has(seed: int) -> None:
    network, inputs = random_net(seed)
    layers = {layer.path: layer for layer in CAM(network).probe(inputs).layers}
    for path in ("blocks[0]", "blocks[0].norm2" if network.arrangement.axes != "ncl" else "blocks[1]"):
        assert layers[path].grid == network.arrangement.grid, path
        assert not layers[path].problem
    for path in ("head", "blocks"):
        assert path not in layers or layers[path].problem


def test_the_probe_has_a_problem_with_every_layer_of_words() -> None:
    inputs = {"pixel_values": pictures((32, 32)), "input_ids": words(2, 16)}
    layers = [layer for layer in CAM(PicturesAndWords().eval()).probe(inputs, 0).layers if layer.path.startswith("text.")]
    assert layers
    for layer in layers:
        assert layer.problem, layer.path


class Patches(nn.Module):
    """A transformer over the patches of a signal, made by a convolution of one axis or two, or by a linear layer."""

    def __init__(self, cut: str, size: int = 136, width: int = 32, *, front: bool = False) -> None:
        super().__init__()
        self.cut, self.front = cut, front
        kinds = {"conv1d": nn.Conv1d(2, width, 8, stride=8), "conv2d": nn.Conv2d(1, width, (2, 8), stride=(1, 8))}
        self.embed = kinds.get(cut, nn.Linear(16, width))
        self.token = nn.Parameter(torch.randn(1, 1, width))
        layer = nn.TransformerEncoderLayer(width, 4, 64, batch_first=True, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 3)

    def forward(self, signals: Tensor) -> Tensor:
        if self.cut == "linear":
            tokens = self.embed(signals.unflatten(2, (-1, 8)).transpose(1, 2).flatten(2))
        else:
            tokens = self.embed(signals[:, None] if self.cut == "conv2d" else signals).flatten(2).mT
        if self.front:
            tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.head(self.encoder(tokens).mean(1))


@pytest.mark.parametrize("cut", ["conv1d", "conv2d", "linear"])
@pytest.mark.parametrize("front", [False, True])
def test_every_patch_of_a_signal_is_a_position_also_one_that_hardly_answers(cut: str, front: bool) -> None:
    for seed in range(8):
        torch.manual_seed(seed)
        network, size = Patches(cut, front=front).eval(), (136, 200)[seed % 2]
        layers = [layer for layer in CAM(network).probe(torch.randn(1, 2, size)).layers if layer.path.startswith("encoder.layers[")]
        of_tokens = [layer for layer in layers if layer.grid and layer.record.shape == (1, size // 8 + front, 32)]
        assert len(of_tokens) > 10
        for layer in of_tokens:
            assert (layer.grid, layer.reading.extra_tokens) == ((size // 8,), int(front)), (seed, layer.path)
