"""The target of a detector: the score of a box, from its list of dicts, one per sample."""

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import MethodError, TargetError
from camtool.targets import BoxScore, PerSample, RawOutput, Region, find_logits, resolve_targets, scores

DETECTIONS = {
    "boxes": torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 8.0], [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]]),
    "scores": torch.tensor([0.5, 0.25, 0.125, 0.0625]),
    "labels": torch.tensor([7, 7, 3, 7]),
}


class TwoSpots(nn.Module):
    """A detector whose answer is known by hand: a box around the brightest position of each half, scored by its light.

    Its boxes depend on the data, in number, too: a half without light has none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.features.weight)

    def forward(self, pictures: Tensor) -> list[dict[str, Tensor]]:
        found = []
        for maps in self.features(pictures)[:, 0]:
            boxes, scores_, labels = [], [], []
            middle = maps.shape[1] // 2
            for label, part in enumerate((maps[:, :middle], maps[:, middle:])):
                if not part.any():
                    continue
                row, column = divmod(int(part.argmax()), part.shape[1])
                left = column + label * middle
                boxes.append([left - 1.0, row - 1.0, left + 2.0, row + 2.0])
                scores_.append(part[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].sum().sigmoid())
                labels.append(label)
            found.append(
                {
                    "boxes": torch.tensor(boxes).reshape(-1, 4),
                    "scores": torch.stack(scores_) if scores_ else torch.zeros(0),
                    "labels": torch.tensor(labels, dtype=torch.long),
                }
            )
        return found


def spots() -> Tensor:
    """Return two pictures of 12x16: light at row 5 in columns 3 and 12, and in column 12 alone."""
    pictures = torch.zeros(2, 1, 12, 16)
    pictures[0, 0, 5, 3] = 1
    pictures[:, 0, 5, 12] = 1
    return pictures


LEFT, RIGHT = [2, 4, 5, 7], [11, 4, 14, 7]


def test_boxes_count_by_their_overlap_and_label_and_only_scores_have_a_gradient() -> None:
    detections = {
        **DETECTIONS,
        "boxes": DETECTIONS["boxes"].clone().requires_grad_(),
        "scores": DETECTIONS["scores"].clone().requires_grad_(),
    }

    value = BoxScore([0, 0, 10, 10], 7)(detections)

    assert value.item() == 0.75  # overlaps of 1 and 0.8
    of_scores, of_boxes = torch.autograd.grad(value, [detections["scores"], detections["boxes"]], allow_unused=True)
    assert of_scores.tolist() == [1, 1, 0, 0]
    assert of_boxes is None
    assert BoxScore([0, 0, 10, 10], 7, overlap=0.9)(detections).item() == 0.5
    assert BoxScore([0, 0, 10, 10], 7, overlap=0.8)(detections).item() == 0.75
    assert BoxScore(torch.tensor([5.0, 0.0, 15.0, 10.0]), 7, overlap=1 / 3)(detections).item() == 0.5  # 50 of 150


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_boxes_of_any_axes_overlap_by_their_content(axes: int) -> None:
    lower, upper = torch.zeros(axes), 10 * torch.ones(axes)
    moved = torch.tensor([5.0, *[0.0] * (axes - 1)])  # half of it, a third of both
    boxes = torch.stack([torch.cat([lower, upper]), torch.cat([lower + moved, upper + moved])])
    detections = {"boxes": boxes, "scores": torch.tensor([0.5, 0.25]), "labels": torch.tensor([1, 1])}

    assert BoxScore(boxes[0], 1)(detections).item() == 0.5
    assert BoxScore(boxes[0], 1, overlap=0.3)(detections).item() == 0.75
    assert BoxScore(boxes[1], 1).flipped(20).box.tolist() == [5.0, *[0.0] * (axes - 1), 15.0, *[10.0] * (axes - 1)]
    with pytest.raises(TargetError, match=f"the detector's boxes have {2 * axes} numbers, this one {2 * axes + 2}"):
        resolve_targets(BoxScore([0] * (axes + 1) + [1] * (axes + 1), 1), PerSample([detections]))


class Spot(nn.Module):
    """A detector of one axis and more: a box around the brightest position, scored by its light."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        self.features = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](1, 1, 1, bias=False)
        nn.init.ones_(self.features.weight)

    def forward(self, inputs: Tensor) -> list[dict[str, Tensor]]:
        found = []
        for maps in self.features(inputs)[:, 0]:
            place = torch.stack(torch.unravel_index(maps.argmax(), maps.shape)).flip(0)
            box = torch.cat([place - 1.0, place + 2.0])[None]
            found.append({"boxes": box, "scores": maps.amax()[None].sigmoid(), "labels": torch.tensor([4])})
        return found


@pytest.mark.parametrize("place", [(7,), (3, 7), (2, 3, 7)])
def test_the_map_of_a_box_in_a_signal_a_picture_or_a_volume_lies_in_it(place: tuple[int, ...]) -> None:
    inputs = torch.zeros(1, 1, *(5, 8, 12)[-len(place) :])
    inputs[(0, 0, *place)] = 1
    corner = torch.tensor(place).flip(0)
    target = BoxScore(torch.cat([corner - 1.0, corner + 2.0]), 4)

    result = CAM(Spot(len(place)), "features", method="layercam", aug_smooth=True)(inputs, targets=target)

    assert torch.unravel_index(result.maps[0].argmax(), result.maps[0].shape) == tuple(map(torch.tensor, place))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BoxScore([0, 0, 10], 7), r"Got \[0.0, 0.0, 10.0\]"),
        (lambda: BoxScore([0, 0, 0, 10], 7), "x1 < x2 and y1 < y2"),
        (lambda: BoxScore([0, 0, 1, 1], 7, overlap=0.0), r"\(0, 1\], got 0.0"),
        (lambda: BoxScore([20, 0, 30, 10], 7)(DETECTIONS), r"BoxScore\(\[20.0, 0.0, 30.0, 10.0\], 7\): of 4 detected boxes the nearest"),
        (
            lambda: BoxScore([0, 0, 10, 10], 5)(DETECTIONS),
            "has label 7 and overlaps by 1.00; expected one that overlaps by 0.5",
        ),
        (lambda: BoxScore([0, 0, 1, 1], 7)({key: part[:0] for key, part in DETECTIONS.items()}), "the detector finds no box at all"),
        (lambda: resolve_targets(BoxScore([0, 0, 1, 1], 7), torch.zeros(1, 3)), r"needs a detector.*boxes, scores, labels.*got \(1, 3\)"),
    ],
)
def test_what_does_not_match_is_refused_in_words(call: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        call()


def test_a_detectors_list_of_dicts_is_kept_sample_by_sample() -> None:
    output = [DETECTIONS, {**DETECTIONS, "scores": 2 * DETECTIONS["scores"]}]

    found = find_logits(output, batch=2)

    assert isinstance(found, PerSample)
    assert scores([BoxScore([0, 0, 10, 10], 3)] * 2, found).tolist() == [0.125, 0.25]
    one_box = {key: part[:1] for key, part in DETECTIONS.items()}
    assert isinstance(find_logits([one_box], batch=1), PerSample)  # its boxes (1, 4) are no scores of one sample
    with pytest.raises(TargetError, match="No scores of 3 samples"):
        find_logits(output, batch=3)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "output is detections, not .*give targets"),
        (3, "Class 3 of an output detections"),
        (RawOutput(), "needs .n, classes"),
        (Region(torch.ones(2, 2), 0), "the network gives detections"),
    ],
)
def test_targets_of_other_networks_are_refused_for_detections(target: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        resolve_targets(target, PerSample([DETECTIONS]))


def test_scores_that_are_not_a_number_are_refused() -> None:
    with pytest.raises(TargetError, match="NaN"):
        resolve_targets(BoxScore([0, 0, 1, 1], 7), PerSample([{**DETECTIONS, "scores": DETECTIONS["scores"] / 0 * 0}]))


def test_the_map_lies_where_the_detected_thing_is() -> None:
    pictures = spots()
    cam = CAM(TwoSpots(), "features", method="layercam")

    result = cam(pictures[:1], [[BoxScore(LEFT, 0), BoxScore(RIGHT, 1)]])

    assert result.maps[0, 0].nonzero().tolist() == [[5, 3]]
    assert result.maps[0, 1].nonzero().tolist() == [[5, 12]]
    assert [target.label for target in result.targets[0]] == [0, 1]
    assert result.predicted is None
    assert result.logits[0]["labels"].tolist() == [0, 1]
    assert not result.logits[0]["scores"].requires_grad


def test_samples_with_different_numbers_of_boxes_are_one_batch() -> None:
    pictures = spots()
    cam = CAM(TwoSpots(), "features", method=["gradcam", "layercam"])

    both = cam(pictures, BoxScore(RIGHT, 1))

    for sample in range(2):
        alone = cam(pictures[sample : sample + 1], BoxScore(RIGHT, 1))
        assert torch.equal(both["layercam"].maps[sample], alone["layercam"].maps[0])
    with pytest.raises(TargetError, match="of 1 detected boxes the nearest has label 1 and overlaps"):
        cam(pictures, BoxScore(LEFT, 0))


def test_a_layer_is_derived_for_a_detector_too() -> None:
    cam = CAM(TwoSpots(), method="layercam")
    cam(spots(), BoxScore(RIGHT, 1))

    assert cam.target_layers == ["features"]


def test_methods_that_need_scores_by_class_say_so() -> None:
    with pytest.raises(MethodError, match="which a detector does not give"):
        CAM(TwoSpots(), "features", method="cam")(spots(), BoxScore(RIGHT, 1))


def test_a_detector_of_torchvision_is_explained_and_left_as_it_was() -> None:
    torch.manual_seed(3)
    model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4, score_thresh=0.0, detections_per_img=20
    ).eval()
    pictures = torch.rand(2, 3, 320, 320)  # its own size: else it resizes, and the layout is to be given
    with torch.no_grad():
        before = model(pictures)
    targets = [BoxScore(one["boxes"][0], int(one["labels"][0]), overlap=0.99) for one in before]

    result = CAM(model, "backbone.features[0][-1]", method="gradcam")(pictures, targets)

    assert result.maps.shape == (2, 320, 320)
    assert [one["scores"][0].item() for one in result.logits] == pytest.approx([one["scores"][0].item() for one in before])
    with torch.no_grad():
        assert torch.equal(model(pictures)[0]["boxes"], before[0]["boxes"])
