"""What a reading does not depend on, what measuring it costs, and that it leaves no trace: in the network, its inputs, or the memory."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolError
from tests.attribution.drawn import CLASS, assert_drawn, assert_right_or_told, counted, difference, explained, score, state_of
from tests.token_networks import Arrangement, CellNet, FixedBatch, MixedTokens, PicturesAndWords, TokenNet, by_hand, pictures, words

SIZE = (28, 28)
LAYER = "blocks[0]"


def ambiguous(**options: Any) -> TokenNet:
    """Return a seeded transformer of 4x4 + 1 tokens whose 49 channels look like 7x7, the likelier grid by its stride."""
    torch.manual_seed(1)
    return TokenNet(SIZE, 7, **{"width": 49, "extra": (1, 0, 0)} | options).eval()


@pytest.mark.parametrize("axes", ["nlc", "lnc", "ncl"])
def test_a_reading_is_the_same_for_every_batch_also_one_as_large_as_the_length_or_the_channels(axes: str) -> None:
    inputs = pictures(SIZE, 49)
    alone = torch.cat([explained(ambiguous(axes=axes), LAYER, picture[None])[0].raw[LAYER] for picture in inputs[:3]])
    for count in (2, 16, 17, 49):
        network = ambiguous(axes=axes)  # a new network: nothing is known of it
        assert_drawn(network, LAYER, inputs[:count], network.arrangement.maps)
        assert difference(explained(network, LAYER, inputs[:count])[0].raw[LAYER][:2], alone[:2]) < 1e-3


@pytest.mark.parametrize("count", [1, 2, 17])
@pytest.mark.parametrize("axes", ["nlc", "ncl", "lnc"])
def test_a_network_of_one_batch_size_is_measured_with_it_or_refused(axes: str, count: int) -> None:
    network = ambiguous(axes=axes, width=16)
    outcome = assert_right_or_told(FixedBatch(network, count), f"network.{LAYER}", pictures(SIZE, count), network.arrangement.maps)
    assert outcome == "right" or axes == "lnc"


@pytest.mark.parametrize("width", range(12, 37))
def test_a_reading_does_not_depend_on_the_number_of_channels(width: int) -> None:
    network = ambiguous(width=width)
    assert_drawn(network, LAYER, pictures(SIZE), network.arrangement.maps)


@pytest.mark.parametrize("factor", [0.01, 0.1, 10, 100])
def test_a_reading_does_not_depend_on_the_scale_of_weights(factor: float) -> None:
    network = ambiguous()
    with torch.no_grad():
        for parameter in (*network.patches.parameters(), network.position, network.extra, *network.head.parameters()):
            parameter.mul_(factor)  # those of attention, too, would let other tokens drown a token's own
    assert_drawn(network, LAYER, pictures(SIZE), network.arrangement.maps)


@pytest.mark.parametrize("factor", [1e-3, 0.1, 10, 1e3])
def test_a_reading_does_not_depend_on_the_scale_of_the_input(factor: float) -> None:
    network = ambiguous()
    assert_drawn(network, LAYER, pictures(SIZE) * factor, network.arrangement.maps)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_a_constant_picture_reads_as_any_other(value: float) -> None:
    network = ambiguous()
    assert_drawn(network, LAYER, torch.full((2, 3, *SIZE), value), network.arrangement.maps, evidence="measured")
    cells = CellNet(2, 4, 8, last=True).eval()
    assert_drawn(cells, "block", torch.full((2, 3, 32, 32), value) + pictures((32, 32)) * 1e-3, cells.maps)


def test_a_picture_with_one_bright_corner_reads_as_any_other() -> None:
    network, inputs = ambiguous(), torch.zeros(2, 3, *SIZE)
    inputs[..., :4, :4] = 5
    assert_drawn(network, LAYER, inputs, network.arrangement.maps)


class Wrapper(nn.Module):
    """Another module around a network, with its own preprocessing and form of output."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        return {"logits": self.inner((pictures - 0.25) / 2)}


@pytest.mark.parametrize(
    ("wrap", "prefix"), [(Wrapper, "inner."), (lambda network: nn.Sequential(Wrapper(network)), "[0].inner."), (nn.Sequential, "[0].")]
)
def test_a_reading_is_the_same_in_a_network_wrapped_in_another_module(wrap: Callable[[nn.Module], nn.Module], prefix: str) -> None:
    inner = ambiguous()
    outer = wrap(inner)

    def scored(output: Any) -> Tensor:
        return score(output["logits"] if isinstance(output, dict) else output)

    assert_drawn(outer, prefix + LAYER, pictures(SIZE), inner.arrangement.maps, score=scored)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_reading_is_the_same_in_another_precision(dtype: torch.dtype) -> None:
    network = ambiguous().to(dtype)
    assert_drawn(network, LAYER, pictures(SIZE).to(dtype), network.arrangement.maps, tolerance=0.05)
    cells = CellNet(2, 4, 8).eval().to(dtype)
    assert_drawn(cells, "block", pictures((32, 32)).to(dtype), cells.maps, tolerance=0.05)


def test_a_reading_is_the_same_under_autocast() -> None:
    network = ambiguous()
    expected = by_hand(network, network.blocks[0], pictures(SIZE), score, network.arrangement.maps)
    with torch.autocast("cpu", torch.bfloat16):
        result, remarks = explained(network, LAYER, pictures(SIZE))
    assert difference(result.raw[LAYER], expected) < 0.05
    assert not remarks


@pytest.mark.parametrize("speed", [{"fold": True}, {"channels_last": True}])
def test_a_reading_is_the_same_of_an_accelerated_copy(speed: dict[str, bool]) -> None:
    network = ambiguous()
    assert_drawn(network, LAYER, pictures(SIZE), network.arrangement.maps, speed=speed)


def with_one_more_axis(network: TokenNet, patch: int) -> TokenNet:
    """Return the same transformer for the same inputs with an axis of length 1 before the others."""
    rank, width = len(network.arrangement.grid), network.head.in_features
    size = [cells * patch for cells in network.arrangement.grid]
    other = TokenNet((1, *size), (1, *[patch] * rank), width=width, channels=3, extra=(network.arrangement.front, 0, 0)).eval()
    state = network.state_dict()
    state["patches.weight"] = state["patches.weight"].unsqueeze(2)
    other.load_state_dict(state)
    return other


@pytest.mark.parametrize(("size", "width"), [((128,), 64), ((128,), 17), ((32, 48), 24)])
def test_a_signal_reads_as_a_picture_of_height_1_and_a_picture_as_a_volume_of_depth_1(size: tuple[int, ...], width: int) -> None:
    flat = TokenNet(size, 8, width=width, extra=(1, 0, 0)).eval()
    raised = with_one_more_axis(flat, 8)
    inputs = pictures(size)
    torch.testing.assert_close(raised(inputs.unsqueeze(2)), flat(inputs))
    expected = assert_drawn(flat, LAYER, inputs, flat.arrangement.maps).raw[LAYER]
    found = assert_drawn(raised, LAYER, inputs.unsqueeze(2), raised.arrangement.maps).raw[LAYER]
    torch.testing.assert_close(found.squeeze(1), expected)


def test_two_calls_and_two_networks_with_the_same_weights_are_read_alike() -> None:
    first = explained(ambiguous(order="windows"), LAYER, pictures(SIZE))[0]
    for _ in range(2):
        torch.manual_seed(7)
        torch.rand(3)  # the callers random numbers have no part in it
        again = explained(ambiguous(order="windows"), LAYER, pictures(SIZE))[0]
        assert torch.equal(first.raw[LAYER], again.raw[LAYER])
        assert first.layout_evidence == again.layout_evidence == {LAYER: "measured"}


class Dropping(nn.Module):
    """Dropout in evaluation, too, as Monte Carlo dropout has it, in front of the tokens or in the middle of them."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.body, self.share = ambiguous(), share

    def forward(self, images: Tensor) -> Tensor:
        return self.body(F.dropout(images, self.share, training=True))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_measuring_a_network_that_draws_random_numbers_takes_none_from_the_caller(share: float) -> None:
    network, inputs = Dropping(share).eval(), pictures(SIZE)
    torch.manual_seed(11)
    expected = by_hand(network, network.body.blocks[0], inputs, score, network.body.arrangement.maps)
    torch.manual_seed(11)
    result, remarks = explained(network, f"body.{LAYER}", inputs)
    assert difference(result.raw[f"body.{LAYER}"], expected) < 1e-3
    assert not remarks


class Alternating(nn.Module):
    """A network of two minds: its tokens have the other sign in every other call, whatever the seed."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.calls = ambiguous(), 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.body(images * (-1) ** self.calls)


def test_a_network_that_answers_differently_each_time_is_refused_or_drawn_right() -> None:
    network = Alternating().eval()
    try:
        result, _ = explained(network, f"body.{LAYER}", pictures(SIZE))
    except CamtoolError:
        return
    assert result.raw[f"body.{LAYER}"].shape == (2, *network.body.arrangement.grid)


@pytest.mark.parametrize("layer", [LAYER, None], ids=["named", "derived"])
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_measuring_leaves_no_trace(train: bool, layer: str | None) -> None:
    network = ambiguous(axes="lnc", order="windows").train(train)
    network.blocks[0].norm1.weight.requires_grad_(False)
    inputs = pictures(SIZE)
    given, before = inputs.clone(), state_of(network)
    explained(network, layer, inputs)
    assert state_of(network) == before
    assert torch.equal(inputs, given)
    assert inputs.grad is None


def test_a_refusal_leaves_no_trace_either() -> None:
    network = MixedTokens().eval()
    before = state_of(network)
    with pytest.raises(CamtoolError):
        explained(network, "mixing", pictures((32, 32)))
    assert state_of(network) == before


def test_a_network_that_fails_while_it_is_measured_is_left_as_it_was() -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.calls = ambiguous(), 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            if self.calls >= 3:
                raise RuntimeError("out of paper")
            return self.body(images)

    network = Failing().eval()
    before = state_of(network)
    with pytest.raises((RuntimeError, CamtoolError), match="out of paper"):
        explained(network, f"body.{LAYER}", pictures(SIZE))
    assert state_of(network) == before


def test_what_is_known_of_a_network_does_not_keep_it_alive() -> None:
    network = ambiguous()
    explained(network, LAYER, pictures(SIZE))
    gone = weakref.ref(network)
    del network
    gc.collect()
    assert gone() is None


def test_a_network_is_measured_once_for_all_calls_and_all_cams() -> None:
    network, inputs = ambiguous(), pictures(SIZE)
    cam = CAM(network, LAYER)
    with counted(network) as first:
        cam(inputs, CLASS)
    with counted(network) as second:
        cam(inputs + 1, CLASS)
    with counted(network) as third:
        CAM(network, LAYER, "hirescam")(pictures(SIZE, 1, seed=9), CLASS)
    assert first.count > 1, "17 passes for two axes of 8 slabs, or what it takes"
    assert first.count <= 40
    assert (second.count, third.count) == (1, 1)


def test_the_layers_of_a_network_are_measured_together() -> None:
    network = ambiguous(depth=3)
    with counted(network) as one:
        CAM(network, "blocks[0]")(pictures(SIZE), CLASS)
    other = ambiguous(depth=3)
    with counted(other) as three:
        CAM(other, ["blocks[0]", "blocks[1]", "blocks[2].norm1"])(pictures(SIZE), CLASS)
    assert three.count <= one.count + 2


def test_another_size_is_measured_anew() -> None:
    class Sizes(nn.Module):
        """Tokens without embeddings of position, of pictures of any size."""

        def __init__(self) -> None:
            super().__init__()
            self.patches, self.norm, self.head = nn.Conv2d(3, 36, 8, 8), nn.LayerNorm(36), nn.Linear(36, 4)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.norm(self.patches(images).flatten(2).transpose(1, 2)).tanh().mean(1))

    network = Sizes().eval()
    cam = CAM(network, "norm")
    for size in ((32, 32), (48, 32), (48, 48), (24, 56), (32, 32)):
        maps = Arrangement((size[0] // 8, size[1] // 8)).maps
        expected = by_hand(network, network.norm, pictures(size), score, maps)
        assert difference(cam(pictures(size), CLASS).raw["norm"], expected) < 1e-3


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam"])
def test_a_plain_convolutional_network_pays_nothing(method: str) -> None:
    network = torchvision.models.resnet18(num_classes=4).eval()
    with counted(network) as passes:
        explained(network, "layer3", pictures((64, 64)), method=method)
    assert passes.count == 1


def test_deriving_the_layer_of_a_plain_convolutional_network_takes_one_pass_more() -> None:
    network = CellNet(2, 4, 20).eval()  # (n, 20, 8, 8): no other reading
    with counted(network) as passes:
        explained(network, None, pictures((32, 32)))
    assert passes.count == 2


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_volume_takes_no_more_passes_than_a_few_slabs_an_axis(rank: int) -> None:
    size = ((64,), (32, 32), (8, 16, 16))[rank - 1]
    network = TokenNet(size, 4 if rank < 3 else (2, 4, 4), width=64, extra=(1, 0, 0)).eval()
    with counted(network) as passes:
        explained(network, LAYER, pictures(size))
    assert passes.count <= 40


class WithWords(nn.Module):
    """Tokens of a picture and of words in one row, and float numbers beside them: what is asked of the picture alone must leave them."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 7, 7)
        self.embedding = nn.Embedding(50, 16)
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 1, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, image: Tensor, ids: Tensor, table: Tensor) -> Tensor:
        cells = self.patches(image).flatten(2).transpose(1, 2)
        tokens = self.norm(torch.cat([self.embedding(ids), cells], dim=1))
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.head(tokens.tanh().mean(1)) + table.sum(1, keepdim=True)


def test_inputs_beside_the_picture_are_never_disturbed_and_words_in_front_of_its_cells_are_no_cells() -> None:
    network = WithWords().eval()
    given: dict[str, Tensor] = {"image": pictures(SIZE), "ids": words(2, 5), "table": pictures((3,), 2, 1)[:, 0]}
    with counted(network) as passes:
        assert_drawn(network, "norm", given, Arrangement((4, 4), front=5).maps, input="image")
    for _, inputs in passes.inputs[1:]:  # the first is the one by hand
        for name in ("ids", "table"):
            assert inputs[name].dtype == given[name].dtype
            assert all(any(torch.equal(row, own) for own in given[name]) for row in inputs[name]), name


def test_numbers_of_words_are_never_disturbed_in_two_towers() -> None:
    network = PicturesAndWords().eval()
    ids = words(3, 16)
    with counted(network) as passes:
        explained(network, None, {"pixel_values": pictures((32, 32)), "input_ids": ids})
    assert passes.count > 1
    for _, inputs in passes.inputs:
        assert inputs["input_ids"].dtype == torch.int64
        assert all(any(torch.equal(row, own) for own in ids) for row in inputs["input_ids"])


class Shared(nn.Module):
    """One norm for tokens of two resolutions, called twice in a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm, self.head = nn.Conv2d(3, 16, 4, 4), nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Tensor:
        fine = self.norm(self.patches(images).flatten(2).transpose(1, 2))
        coarse = F.avg_pool2d(fine.transpose(1, 2).unflatten(2, (8, 8)), 2).flatten(2).transpose(1, 2)
        return self.head(self.norm(coarse).tanh().mean(1) + fine.tanh().mean(1))


def test_a_layer_called_at_two_resolutions_is_read_at_the_call_that_is_explained() -> None:
    network = Shared().eval()
    inputs = pictures((32, 32))
    for call, side in enumerate((8, 4)):
        expected = by_hand(network, network.norm, inputs, score, Arrangement((side, side)).maps, call=call)
        result, remarks = explained(network, "norm", inputs, call=call)
        assert difference(result.raw["norm"], expected) < 1e-3
        assert remarks == []
    last, remarks = explained(network, "norm", inputs)
    assert torch.equal(last.raw["norm"], result.raw["norm"])
    assert len(remarks) == 1
    assert "called 2 times" in remarks[0]
