"""Everything between cells and pixels takes a placement: final maps, several layers, masks, bias terms, products, aug-smooth, concepts."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM, deep_feature_factorization
from camtool.errors import CamtoolError
from camtool.functional import fuse, min_max, over_maximum
from camtool.placement import Placement, placed
from tests.networks import RANKS, SIZES, autograd_evidence, images, small_net

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
OFF = {"scale": 2, "offset": -1}


def off(rank: int) -> Placement:
    return Placement((2.0,) * rank, (-1.0,) * rank)


def shown(raw: Tensor, rank: int) -> Tensor:
    return placed(min_max(raw.clamp(min=0)), SIZES[rank], off(rank)).clamp(min=0)


@pytest.mark.parametrize("rank", RANKS)
def test_the_map_is_placed_after_its_scaling_and_the_raw_map_is_unchanged(rank: int) -> None:
    model, inputs = small_net(rank), images(rank)
    even, result = (CAM(model, "late", "layercam", placement=spec)(inputs, 1) for spec in ("even", OFF))
    torch.testing.assert_close(result.raw, even.raw, rtol=0, atol=0)
    torch.testing.assert_close(result.maps, min_max(shown(result.raw["late"], rank)))
    assert not torch.allclose(result.maps, even.maps)
    assert result.placement == {"late": off(rank)}
    assert even.placement == {"late": Placement.even(even.raw["late"].shape[1:], SIZES[rank])}


def test_an_even_division_given_as_numbers_changes_no_bit() -> None:
    model, inputs = small_net(), images()
    given = CAM(model, ["early", "late"], ["layercam", "scorecam"], placement={"scale": 2, "offset": 0.5})(inputs, 1)
    even = CAM(model, ["early", "late"], ["layercam", "scorecam"])(inputs, 1)
    for method in even:
        assert torch.equal(given[method].maps, even[method].maps)


@pytest.mark.parametrize("rank", RANKS)
def test_layers_are_each_placed_then_fused(rank: int) -> None:
    model, inputs = small_net(rank), images(rank)
    result = CAM(model, ["early", "late"], "layercam", placement={"late": OFF})(inputs, 1)
    even = CAM(model, "early", "layercam")(inputs, 1)
    torch.testing.assert_close(result.layer_maps["early"], even.maps)
    torch.testing.assert_close(
        result.maps, fuse([placed(min_max(even.raw["early"].clamp(min=0)), SIZES[rank]), shown(result.raw["late"], rank)])
    )


def test_aug_smooth_places_each_copys_map_before_it_is_flipped_back() -> None:
    model, inputs = small_net(), images()
    plain, smooth = (CAM(model, "late", "layercam", placement=OFF, aug_smooth=smooth) for smooth in (False, True))
    passes = []
    for factor in (1.0, 0.9, 1.1):
        passes.append(min_max(shown(plain(inputs * factor, 1).raw["late"], 2)))
        passes.append(min_max(shown(plain(inputs.flip(-1) * factor, 1).raw["late"], 2)).flip(-1))
    torch.testing.assert_close(smooth(inputs, 1).maps, torch.stack(passes).mean(dim=0))


@pytest.mark.parametrize("rank", RANKS)
def test_score_cams_masks_lie_where_the_cells_look(rank: int) -> None:
    model, inputs = small_net(rank), images(rank, count=1)
    activations, _, _ = autograd_evidence(model, model.late, inputs, [1])
    masks = torch.stack([min_max(placed(channel[None], SIZES[rank], off(rank)))[0] for channel in activations[0]])
    dead = activations[0].flatten(1).amax(dim=1) == activations[0].flatten(1).amin(dim=1)
    with torch.no_grad():
        weights = model(inputs * masks[:, None])[:, 1].masked_fill(dead, -torch.inf).softmax(dim=0)
    expected = (weights.view(-1, *[1] * rank) * activations[0]).sum(dim=0)
    torch.testing.assert_close(CAM(model, "late", "scorecam", placement=OFF)(inputs, 1).raw["late"][0], expected)


@pytest.mark.parametrize("method", ["scorecam", "fastercam", "iscam", "sscam", "polycam", "groupcam", "opticam", "smooth:scorecam"])
def test_every_method_of_masks_takes_the_placement(method: str) -> None:
    model, inputs = small_net(), images(count=1)
    given, even = (CAM(model, "late", method, placement=spec)(inputs, 1).raw["late"] for spec in (OFF, "even"))
    assert not torch.allclose(given, even)


def test_masks_aligned_at_the_corners_stay_as_other_packages_have_them() -> None:
    model, inputs = small_net(), images(count=1)
    method = {"type": "scorecam", "align_corners": True}
    given, even = (CAM(model, "late", method, placement=spec)(inputs, 1).raw["late"] for spec in (OFF, "even"))
    assert torch.equal(given, even)


def test_fullgrads_terms_are_placed_one_by_one() -> None:
    model, inputs = small_net(), images(count=1)
    result, even = (CAM(model, method="fullgrad", placement=spec)(inputs, 1).raw["input"] for spec in ({"late[0]": OFF}, "even"))
    _, gradients, _ = autograd_evidence(model, model.late[0], inputs, [1])
    term = (gradients * model.late[0].bias.view(1, -1, 1, 1)).abs()
    term = min_max(term.flatten(0, 1)).unflatten(0, term.shape[:2]).sum(dim=1)
    torch.testing.assert_close(result - even, placed(term, SIZES[2], off(2)) - placed(term, SIZES[2]), atol=1e-5, rtol=1e-4)
    assert torch.equal(CAM(model, method="fullgrad", placement=OFF)(inputs, 1).raw["input"], even)  # of no target layer


def test_a_guided_product_is_that_of_the_placed_map() -> None:
    model, inputs = small_net(), images(count=1)
    results = CAM(model, "late", ["gradcam", "guidedbackprop", "guidedgradcam"], placement=OFF)(inputs, 1)
    factor = over_maximum(placed(results["gradcam"].raw["late"].clamp(min=0), SIZES[2], off(2)))
    expected = results["guidedbackprop"].attributions * factor.unsqueeze(1)
    torch.testing.assert_close(results["guidedgradcam"].attributions, expected)
    assert str(results["guidedgradcam"].placement["input"]) == "pixel = 1 * index + 0 (even)"


def test_concepts_are_placed() -> None:
    model, inputs = small_net(), images()
    given, even = (deep_feature_factorization(model, inputs, 2, target_layer="late", placement=spec) for spec in (OFF, "even"))
    assert torch.equal(given.raw, even.raw)
    expected = placed(min_max(even.raw.flatten(0, 1)), SIZES[2], off(2)).unflatten(0, (2, 2))
    torch.testing.assert_close(given.maps, expected)
    assert given.placement == off(2)


def test_a_measured_placement_moves_the_map_of_a_strided_network_to_the_upper_left() -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for channels in (1, 8, 8, 8):
        layers += [nn.Conv2d(channels, 8, 3, stride=2, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()
    for module in model[:-1]:
        if isinstance(module, nn.Conv2d):
            nn.init.uniform_(module.weight, 0, 0.2)
    nn.init.uniform_(model[-1].weight, 0, 1)
    picture = torch.rand(4, 1, 96, 96) / 10
    picture[:, :, 44:52, 44:52] += 2  # in the middle
    result = CAM(model, "[7]", placement="measured")(picture, 1)
    placement = result.placement["[7]"]
    assert placement.source == "measured"
    places = torch.arange(96.0) - 47.5

    def aside(maps: Tensor) -> Tensor:
        maps = maps**8  # of the brightest
        return torch.stack([(maps.sum(axis) * places).sum(-1) / maps.sum((1, 2)) for axis in (1, 2)]).abs().mean()

    assert aside(result.maps) < aside(CAM(model, "[7]")(picture, 1).maps) / 3


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("best", "Unknown placement 'best'"),
        ({"scale": (2, 2, 2), "offset": 0}, "Expected placement numbers of 2 spatial axes"),
        ({"latest": OFF}, "closest: 'late'"),
        ({"early": OFF}, r"layers that are used \(late\)"),
    ],
)
def test_a_placement_that_does_not_fit_is_refused(spec: Any, said: str) -> None:
    with pytest.raises(CamtoolError, match=said):
        CAM(small_net(), "late", placement=spec)(images(), 1)
