"""Networks whose right answer is known without any implementation of a CAM method."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from tests.methods.kinds import OF_MAPS, OF_NOISE
from tests.networks import CONV, GAP, RANKS, SIZES, images, small_net

BASELINES = ("centercam", "edgecam", "randomcam")
# Noise fires everywhere; and the planted convolution is so strict that it does not fire on a pattern that is enlarged or whose surroundings
# are blurred.
POSITIONED = [name for name in OF_MAPS if name not in (*BASELINES, "smooth", "groupcam", "sess")]
GRADIENT = ["gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "gradcamelementwise"]
PATTERN = {1: [1.0, -1.0, 2.0], 2: [[1.0, -1.0], [0.0, 2.0]], 3: [[[1.0, 0.0], [-1.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]]]}


class Planted(nn.Module):
    """One convolution that fires on one pattern only, and one that fires nowhere near it; GAP; class 1 reads the pattern."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        kernel = torch.tensor(PATTERN[rank])
        self.features = nn.Sequential(CONV[rank](1, 2, kernel.shape[0]), nn.ReLU())
        with torch.no_grad():
            self.features[0].weight.copy_(torch.stack([kernel, -kernel]).unsqueeze(1))
            # The pattern answers itself with its squared norm; a quarter less is more than any shifted overlap gives.
            self.features[0].bias.fill_(-0.75 * kernel.square().sum())
        self.pool = GAP[rank](1)
        self.fc = nn.Linear(2, 2)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
            self.fc.bias.zero_()

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.pool(self.features(image)).flatten(1))


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", POSITIONED)
def test_planted_pattern_is_the_only_place_of_the_map(name: str, rank: int) -> None:
    kernel = torch.tensor(PATTERN[rank])
    places = [(1,) * rank, tuple(range(3, 3 + rank))]
    image = torch.zeros(2, 1, *(8,) * rank)
    for sample, place in enumerate(places):
        image[sample, 0][tuple(slice(start, start + kernel.shape[0]) for start in place)] = kernel
    result = CAM(Planted(rank), "features", name)(image, 1)
    raw = result.raw["features"]
    # One position fires with |pattern|^2 / 4, and every method must put its maximum there and the same value everywhere else.
    for sample, place in enumerate(places):
        elsewhere = torch.ones_like(raw[sample], dtype=torch.bool)
        elsewhere[place] = False
        assert raw[sample][place] > 0
        others = raw[sample][elsewhere]
        torch.testing.assert_close(others, others[:1].expand_as(others), atol=1e-6, rtol=0)
        assert others.amax() < 0.1 * raw[sample][place]


@pytest.mark.parametrize("rank", RANKS)
def test_planted_pattern_has_the_value_worked_out_by_hand(rank: int) -> None:
    kernel = torch.tensor(PATTERN[rank])  # squared norm 6, 6, 6: fires with 6 - 4.5 = 1.5 at one of N positions
    image = torch.zeros(1, 1, *(8,) * rank)
    image[0, 0][(slice(2, 2 + kernel.shape[0]),) * rank] = kernel
    results = CAM(Planted(rank), "features", ["cam", "gradcam", "hirescam", "layercam"])(image, 1)
    positions = (8 - kernel.shape[0] + 1) ** rank
    expected = torch.zeros(1, *(8 - kernel.shape[0] + 1,) * rank)
    expected[(0, *(2,) * rank)] = 1.5
    torch.testing.assert_close(results["cam"].raw["features"], expected)
    for name in ("gradcam", "hirescam", "layercam"):  # d score / dA = 1/N everywhere
        torch.testing.assert_close(results[name].raw["features"], expected / positions)


def lifted(model: nn.Module, rank: int) -> nn.Module:
    """Return small_net of one rank more that computes the same on inputs whose new leading axis has one position."""
    higher = small_net(rank + 1)
    values = dict(model.state_dict())
    for key, wanted in higher.state_dict().items():
        if values[key].shape != wanted.shape:  # a kernel: only the middle of its new leading axis meets the one position
            kernel = torch.zeros_like(wanted)
            kernel[:, :, wanted.shape[2] // 2] = values[key]
            values[key] = kernel
    higher.load_state_dict(values)
    return higher


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("name", OF_MAPS)
@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
def test_map_equals_that_of_one_rank_more_with_one_position_on_the_new_axis(name: str, rank: int) -> None:
    low, inputs = small_net(rank), images(rank)
    layer = "late" if name == "cam" else "early"
    flat = CAM(low, layer, name)(inputs, [0, 1])
    deep = CAM(lifted(low, rank), layer, name, layout="ChannelsFirst")(inputs.unsqueeze(2), [0, 1])
    torch.testing.assert_close(flat.logits, deep.logits)
    torch.testing.assert_close(flat.raw[layer], deep.raw[layer].squeeze(1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(flat.maps, deep.maps.squeeze(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
def test_on_gap_and_linear_cam_gradcam_hirescam_and_xgradcam_are_proportional(rank: int) -> None:
    model, inputs = small_net(rank, double=True), images(rank, double=True)
    results = CAM(model, "late", ["cam", "gradcam", "hirescam", "xgradcam"])(inputs, [2, 3])
    positions = results["cam"].raw["late"][0].numel()
    for name in ("gradcam", "hirescam", "xgradcam"):
        torch.testing.assert_close(results[name].raw["late"] * positions, results["cam"].raw["late"], rtol=1e-4, atol=1e-6)
    bias = model.fc.bias.detach()[[2, 3]]
    logits = results["cam"].logits[[0, 1], [2, 3]]
    torch.testing.assert_close(results["hirescam"].raw["late"].double().flatten(1).sum(1) + bias, logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results["cam"].raw["late"].double().flatten(1).mean(1) + bias, logits, rtol=1e-5, atol=1e-6)


class LinearTail(nn.Module):
    """Behind `features` everything is linear: another convolution, an uneven pooling, two dense layers without activation."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU())
        self.tail = nn.Sequential(nn.Conv2d(4, 3, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3 * 4 * 6, 7), nn.Linear(7, 5))

    def forward(self, image: Tensor) -> Tensor:
        return self.tail(self.features(image))


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
def test_on_any_linear_tail_hirescam_sums_to_the_logit_minus_the_logit_at_zero_activations() -> None:
    model, inputs = LinearTail().eval(), images()
    result = CAM(model, "features", "hirescam")(inputs, [[0, 4], [1, 2]])
    at_zero = model.tail(torch.zeros(1, 4, *SIZES[2])).detach()[0]
    expected = torch.stack([result.logits[0, [0, 4]] - at_zero[[0, 4]], result.logits[1, [1, 2]] - at_zero[[1, 2]]])
    torch.testing.assert_close(result.raw["features"].flatten(2).sum(2), expected, rtol=1e-4, atol=1e-5)


class Quarters(nn.Module):
    """Each quarter of the picture feeds its own class, through its own channel; no path leads from one quarter to another."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Softplus())

    def forward(self, image: Tensor) -> Tensor:
        activations = self.cells(image)
        rows, columns = activations.shape[2] // 2, activations.shape[3] // 2
        corners = itertools.product((slice(0, rows), slice(rows, None)), (slice(0, columns), slice(columns, None)))
        return torch.stack([activations[:, k, row, column].square().sum((1, 2)) for k, (row, column) in enumerate(corners)], dim=1)


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("name", ["hirescam", "layercam", "gradcamelementwise"])
def test_independent_cells_get_exactly_zero_outside_their_own(name: str, quarter: int) -> None:
    raw = CAM(Quarters(), "cells", name)(torch.rand(2, 1, 8, 8), quarter).raw["cells"]
    row, column = divmod(quarter, 2)
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = True
    assert (raw[:, ~inside] == 0).all()
    assert (raw[:, inside] > 0).all()


@pytest.mark.parametrize("quarter", range(4))
def test_gradcam_on_independent_cells_is_its_own_channel_and_no_other(quarter: int) -> None:
    model, image = Quarters(), torch.rand(2, 1, 8, 8)
    raw = CAM(model, "cells", "gradcam")(image, quarter).raw["cells"]
    own = model.cells(image).detach()[:, quarter]
    row, column = divmod(quarter, 2)
    inside = own[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
    # score = sum of squares inside: gradient 2 A inside and 0 outside, so its mean over all 64 positions is 2 sum(A inside) / 64
    weight = 2 * inside.sum((1, 2), keepdim=True) / 64
    torch.testing.assert_close(raw, weight * own)


@pytest.mark.parametrize("name", [name for name in OF_MAPS if name not in OF_NOISE])
@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
def test_flipping_the_input_flips_the_map_of_a_flip_equivariant_network(name: str) -> None:
    model = small_net(double=True)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data + module.weight.data.flip(-1)
    model.early[0].stride = (1, 1)  # a stride of 2 is not equivariant on an even width
    inputs = images(double=True)
    layer = "late" if name == "cam" else "early"
    cam = CAM(model, layer, name)
    straight, flipped = cam(inputs, 1), cam(inputs.flip(-1), 1)
    torch.testing.assert_close(flipped.maps.flip(-1), straight.maps, rtol=1e-5, atol=1e-6)
    assert name == "centercam" or not torch.allclose(straight.maps, straight.maps.flip(-1), atol=1e-2) or straight.status[0] != "ok"


class OneConv(nn.Module):
    """The network of Captum's Grad-CAM tests (BasicModel_ConvNet_One_Conv), rebuilt from its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(8, 4)
        with torch.no_grad():
            self.conv.weight.fill_(1)
            self.conv.bias.copy_(torch.tensor([-50.0, -75.0]))
            self.fc.weight.copy_(torch.tensor([1.0, 1, 1, 1, 1, -1, -1, -1]).expand(4, 8))
            self.fc.bias.zero_()

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.relu(self.conv(image)).flatten(1)).relu()


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        # Windows of 0 .. 15 sum to 45 54 / 81 90. Channel 1: -5 4 / 31 40, gradient 0 1 / 1 1, mean 0.75; channel 2: -30 -21 / 6 15,
        # gradient 0 0 / -1 -1, mean -0.5. So 0.75 * -5 + 0.5 * 30 = 11.25 and so on.
        ("conv", [[11.25, 13.5], [20.25, 22.5]]),
        # Behind the ReLU: 0 4 / 31 40 with mean gradient 1, 0 0 / 6 15 with mean gradient (1 - 3) / 4 = -0.5
        ("relu", [[0.0, 4.0], [28.0, 32.5]]),
    ],
)
def test_captums_hand_values_for_layer_gradcam(layer: str, expected: list[list[float]]) -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    result = CAM(OneConv(), layer, "gradcam")(image, 0)
    assert result.raw[layer].tolist() == [expected]
