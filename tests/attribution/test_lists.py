"""Networks that take a list of pictures, and networks that return a list of dicts, one for each sample."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolError, TargetError
from camtool.targets import BoxScore, PerSample, find_logits
from tests.networks import images, small_net

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")


class Finder(nn.Module):
    """Takes pictures as detectors do, and finds as many things in each as it has bright corners."""

    keys = ("boxes", "scores")

    def __init__(self) -> None:
        super().__init__()
        self.network = small_net()

    def forward(self, pictures: list[Tensor]) -> list[dict[str, Any]]:
        scores = self.network(torch.stack(list(pictures)))
        return [
            {
                "boxes": torch.arange(4.0).expand(1 + number, 4),
                "scores": of_sample[: 1 + number],
                "more": {"all": of_sample, "name": "a picture"},
            }
            for number, of_sample in enumerate(scores)
        ]


class Listing(nn.Module):
    """Insists on a list."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small_net()

    def forward(self, pictures: "list[Tensor]") -> Tensor:
        assert isinstance(pictures, list)
        return self.network(torch.stack(pictures))


@pytest.mark.parametrize("method", ["hirescam", "ablationcam", "scorecam", "fullgrad", "smooth"])
@pytest.mark.parametrize("layer", ["network.late", None])
def test_a_list_of_pictures_is_a_batch(method: str, layer: str | None) -> None:
    chosen = None if method == "fullgrad" else layer
    found = CAM(Listing(), chosen, method)(list(images()), [1, 2])
    torch.testing.assert_close(found.maps, CAM(small_net(), chosen and "late", method)(images(), [1, 2]).maps)
    assert found.maps.shape == (2, 10, 14)


def test_pictures_of_several_sizes_are_refused_in_words() -> None:
    with pytest.raises(CamtoolError, match=r"pictures of one size.*\(2, 10, 14\), \(2, 8, 9\); try one at a time: \[picture\]"):
        CAM(Listing(), "network.late")([images()[0], torch.zeros(2, 8, 9)], 1)


def test_a_list_for_other_networks_holds_their_arguments() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = small_net(1)

        def forward(self, signal: Tensor, shift: Tensor) -> Tensor:
            return self.network(signal + shift)

    signal = images(1)
    found = CAM(Pair(), "network.late", input=0)([signal, torch.ones_like(signal)], 1)
    torch.testing.assert_close(found.maps, CAM(small_net(1), "late")(signal + 1, 1).maps)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("method", ["hirescam", "ablationcam", "liftcam", "scorecam"])
def test_a_callable_gets_the_dict_of_its_sample(count: int, method: str) -> None:
    """Also where as many things are found as there are samples, and for a single sample with a single thing."""
    inputs = images()[:count]
    found = CAM(Finder(), "network.late", method)(list(inputs), lambda of_sample: of_sample["scores"][0] + of_sample["more"]["all"][3])
    expected = CAM(small_net(), "late", method)(inputs, lambda scores: scores[0] + scores[3])
    torch.testing.assert_close(found.maps, expected.maps)
    assert isinstance(found.logits, PerSample)
    assert not any(tensor.requires_grad for of_sample in found.logits for tensor in (of_sample["scores"], of_sample["more"]["all"]))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "a dict of boxes, scores, more for each sample, not .*give targets"),
        (1, "Class 1"),
        (BoxScore([0, 0, 1, 1], 1), "a detector"),
    ],
)
def test_targets_of_other_outputs_are_refused_in_words(target: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        CAM(Finder(), "network.late")(list(images()), target)


def test_scores_that_are_nan_are_refused_in_words() -> None:
    model = Finder()
    with torch.no_grad():
        model.network.fc.bias[3] = torch.nan
    with pytest.raises(TargetError, match="scores are NaN"):
        CAM(model, "network.late")(list(images()), lambda of_sample: of_sample["scores"][0])


def test_outputs_of_stages_and_tasks_are_no_samples() -> None:
    scores = torch.randn(2, 3)
    stages = [{"logits": scores, "features": torch.zeros(2, 4, 5)}, {"logits": scores + 1, "features": torch.zeros(2, 4, 5)}]
    assert torch.equal(find_logits(stages, batch=2), scores)
    for tasks in ([{"sort": scores}, {"age": scores + 1}], ({"sort": scores}, {"sort": scores + 1})):
        assert torch.equal(find_logits(tasks, batch=2), scores)
