"""The target of a segmentation network: a class in a region of its dense output."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import TargetError
from camtool.targets import Region, resolve_targets

SCORES = torch.arange(16.0).reshape(2, 2, 4)  # two classes, 2x4 positions


def test_the_sum_of_the_class_where_the_mask_is() -> None:
    mask = torch.tensor([[0, 1, 0, 0], [0, 1, 0, 1]])
    scores = SCORES.clone().requires_grad_()

    value = Region(mask, 1)(scores)

    assert value.item() == 9 + 13 + 15
    assert torch.equal(torch.autograd.grad(value, scores)[0], torch.stack([torch.zeros(2, 4), mask.float()]))


@pytest.mark.parametrize(
    "mask",
    [
        [[True, False], [False, False]],
        np.array([[0.5, 0], [0, 0]]),
        np.array([[255, 0], [0, 0]], dtype=np.uint8),
        torch.tensor([[-1, 0], [0, 0]]),
        torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]),
    ],
)
def test_a_mask_of_any_kind_and_size_is_read_by_the_nearest_position(mask: Any) -> None:
    (row,), _ = resolve_targets(Region(mask, 0), torch.arange(8.0).reshape(1, 1, 2, 4))

    assert row[0](torch.arange(8.0).reshape(1, 2, 4)).item() == 0 + 1  # the left half of the upper row


@pytest.mark.parametrize("spatial", [(6,), (4, 5), (2, 3, 4)])
def test_any_number_of_spatial_axes(spatial: tuple[int, ...]) -> None:
    assert Region(torch.ones(spatial), 1)(torch.ones(3, *spatial)).item() == torch.Size(spatial).numel()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Region(torch.zeros(4, 4), 0), r"region is empty.*\(4, 4\)"),
        (lambda: Region(torch.tensor(1), 0), r"one to three axes.*got shape \(\)"),
        (lambda: resolve_targets(Region(torch.ones(4, 4), 2), SCORES[None]), "Class index 2 is out of range: the network has 2 classes"),
        (lambda: resolve_targets(Region(torch.ones(4, 4), -1), SCORES[None]), "Class index -1 is out of range"),
        (
            lambda: resolve_targets(Region(torch.ones(4), 0), SCORES[None]),
            r"shape \(4,\).*1 spatial axes; the network gives \(1, 2, 2, 4\)",
        ),
        (lambda: resolve_targets(Region(torch.ones(4, 4), 0), torch.zeros(1, 2)), r"the network gives \(1, 2\)"),
    ],
)
def test_what_is_no_region_of_the_output_is_refused_in_words(make: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        make()


def test_a_region_that_is_lost_in_the_outputs_grid_is_refused() -> None:
    point = torch.zeros(64, 64)
    point[3, 3] = 1

    with pytest.raises(TargetError, match="too small: at the output's size, 4x4"):
        resolve_targets(Region(point, 0), torch.zeros(1, 2, 4, 4))


class Bright(nn.Module):
    """Scores each position of a picture by how bright it is there: class 0 the dark, class 1 the bright."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.classify = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.features.weight.zero_()[1, 0, 1, 1] = 1
            self.features.weight[0, 0, 1, 1] = -1
            self.classify.weight.copy_(torch.eye(2).reshape(2, 2, 1, 1))

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        return {"out": self.classify(self.features(picture))}


@pytest.fixture
def two_spots() -> Tensor:
    picture = torch.zeros(1, 1, 16, 16)
    picture[0, 0, 2:5, 2:5] = 1
    picture[0, 0, 10:14, 10:14] = 1
    return picture


def test_only_the_evidence_of_the_region_lights_up(two_spots: Tensor) -> None:
    first = torch.zeros(16, 16)
    first[:8, :8] = 1

    result = CAM(Bright(), "features", method="layercam")(two_spots, Region(first, 1))

    assert torch.equal(result.raw["features"][0] > 0, (two_spots[0, 0] > 0) & (first > 0))
    assert result.targets == [1]
    assert result.predicted is None


def test_regions_differ_by_sample_and_a_batch_equals_single_pictures(two_spots: Tensor) -> None:
    upper = torch.zeros(16, 16)
    upper[:8] = 1
    cam = CAM(Bright(), "features", method="hirescam")

    both = cam(two_spots.repeat(2, 1, 1, 1), [Region(upper, 1), Region(1 - upper, 1)])

    assert torch.equal(both.maps[0], cam(two_spots, Region(upper, 1)).maps[0])
    assert torch.equal(both.maps[1], cam(two_spots, Region(1 - upper, 1)).maps[0])
    assert not torch.equal(both.maps[0], both.maps[1])


def test_the_derived_layer_lies_before_the_scores_by_class(two_spots: Tensor) -> None:
    # As many columns as the picture, of which the region needs some: that is no axis of classes.
    half = torch.zeros(16, 16)
    half[:, :8] = 1

    cam = CAM(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    cam(two_spots, Region(half, 1))

    assert cam.target_layers == ["[1]"]


def test_a_soft_mask_weighs_the_positions() -> None:
    scores = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = torch.rand(2, 3, generator=torch.Generator().manual_seed(1))
    expected = (scores[1] * (weights / weights.amax()).repeat_interleave(2, 0).repeat_interleave(2, 1)).sum()
    torch.testing.assert_close(Region(weights, 1).fitted(scores[None], 0)(scores), expected)
    torch.testing.assert_close(Region(weights, 1)(scores), expected)
    torch.testing.assert_close(Region(weights, 1).flipped(6)(scores.flip(-1)), expected)
    assert Region((weights > 0.5).float(), 1)(scores) == Region(weights > 0.5, 1)(scores)


def test_a_soft_mask_leaves_out_infinite_scores_outside_of_it() -> None:
    assert Region([[1.0, 0.5, 0.0]], 0)(torch.tensor([[[2.0, 2.0, float("-inf")]]])) == 3


@pytest.mark.parametrize("wrong", [-0.5, float("nan"), float("inf")])
def test_weights_that_are_none_are_refused(wrong: float) -> None:
    with pytest.raises(TargetError, match="weights of zero or more"):
        Region([[1.0, wrong]], 0)


@pytest.mark.parametrize("spatial", [(7,), (4, 5), (2, 3, 4)])
def test_the_predicted_region_of_each_class(spatial: tuple[int, ...]) -> None:
    scores = torch.randn(3, *spatial, generator=torch.Generator().manual_seed(1), requires_grad=True)
    best = scores.argmax(dim=0)

    for index in best.unique().tolist():
        region = Region.predicted(scores, index)

        assert torch.equal(region.mask, best == index)
        assert region.index == index
        assert region(scores).item() == pytest.approx(scores[index][best == index].sum().item())


@pytest.mark.parametrize(("scores", "seen"), [([-2.0, 0.5, 3.0], [0, 1, 1]), ([0.1, 0.5, 0.6], [0, 0, 1]), ([-1.0, -0.5, 0.2], [0, 0, 1])])
def test_the_predicted_region_of_an_output_with_one_class(scores: list[float], seen: list[int]) -> None:
    assert Region.predicted(torch.tensor([scores]), 0).mask.int().tolist() == seen


def test_a_class_that_is_seen_nowhere_is_refused() -> None:
    scores = torch.tensor([[3.0, 0.0, 0.0], [0.0, -1.0, -1.0], [0.0, 5.0, 5.0]])
    with pytest.raises(TargetError, match="Class 1 has nowhere the highest score; expected one that is seen here: 0, 2"):
        Region.predicted(scores, 1)
    with pytest.raises(TargetError, match="Class index 3 is out of range: the network has 3 classes"):
        Region.predicted(scores, 3)
    with pytest.raises(TargetError, match="expected one that is seen here: none"):
        Region.predicted(torch.tensor([[-1.0, -2.0]]), 0)


@pytest.mark.parametrize("spatial", [(6,), (4, 5), (2, 3, 4)])
def test_a_region_of_an_output_with_the_classes_last_is_that_of_the_same_scores_with_the_classes_first(spatial: tuple[int, ...]) -> None:
    scores = torch.randn(2, 7, *spatial, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(spatial, generator=torch.Generator().manual_seed(1)) > 0.5
    first = Region(mask, 3).fitted(scores, 0)
    last = Region(mask, 3, classes_last=True).fitted(scores.movedim(1, -1), 0)
    for sample in scores:
        assert last(sample.movedim(0, -1)) == pytest.approx(float(first(sample)))
    assert last.flipped(spatial[-1]).classes_last
    with pytest.raises(TargetError, match="out of range: the network has 7 classes"):
        Region(mask, 7, classes_last=True).fitted(scores.movedim(1, -1), 0)
