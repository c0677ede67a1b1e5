"""Finer-CAM: another score for one method, from the forward pass that all share."""

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import MethodError, TargetError
from camtool.methods import build_method, find_method
from camtool.targets import ClassProbability, ClassScore, FinerScore
from tests.networks import images, small_net

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")


def count_calls(model: nn.Module) -> list[int]:
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_finer_is_the_method_with_the_finer_score_as_target_from_one_forward_pass() -> None:
    model, inputs = small_net(), images()
    calls = count_calls(model)
    together = CAM(model, "early", ["gradcam", "finer", "layercam", "finer:layercam"])(inputs, [[0, 1], [2, 3]])
    assert len(calls) == 1
    finer = [[FinerScore(index) for index in row] for row in ([0, 1], [2, 3])]
    for name in ("gradcam", "layercam"):
        of_targets = CAM(model, "early", name)(inputs, finer)
        torch.testing.assert_close(together[f"finer:{name}"].raw["early"], of_targets.raw["early"])
        plain = CAM(model, "early", name)(inputs, [[0, 1], [2, 3]])
        torch.testing.assert_close(together[name].raw["early"], plain.raw["early"])
        assert together[f"finer:{name}"].targets == [[0, 1], [2, 3]]


def test_finercam_is_a_name_of_it() -> None:
    assert build_method("finercam").name == build_method("FinerCAM:gradcam").name == "finer:gradcam"
    assert find_method("finer-cam") is find_method("finer")


@pytest.mark.parametrize("name", ["ablationcam", "scorecam", "smooth:layercam", "shapleycam", "cam"])
def test_it_goes_around_methods_that_ask_the_network(name: str) -> None:
    model, inputs = small_net(), images()
    result = CAM(model, "late", f"finer:{name}")(inputs, [1, 2])
    expected = CAM(model, "late", name)(inputs, [FinerScore(1), FinerScore(2)])
    torch.testing.assert_close(result.raw["late"], expected.raw["late"])


@pytest.mark.parametrize("outer", ["smooth", "integrated"])
def test_others_go_around_it(outer: str) -> None:
    model, inputs = small_net(), images()
    result = CAM(model, "early", f"{outer}:finer:gradcam")(inputs, [1, 2])
    expected = CAM(model, "early", f"{outer}:gradcam")(inputs, [FinerScore(1), FinerScore(2)])
    torch.testing.assert_close(result.raw["early"], expected.raw["early"])


def test_the_references_are_chosen_once_for_all_passes_of_aug_smooth() -> None:
    model, inputs = small_net(), images()
    with torch.no_grad():
        fitted: list[object] = [FinerScore(1, references=1).fitted(model(inputs), sample) for sample in range(2)]
    spec = {"type": "finer", "references": 1}
    result = CAM(model, "early", spec, aug_smooth=True)(inputs, 1)
    torch.testing.assert_close(result.maps, CAM(model, "early", aug_smooth=True)(inputs, fitted).maps)


def test_without_comparison_it_is_the_method_itself() -> None:
    results = CAM(small_net(), "early", [{"type": "finer", "alpha": 0.0}, "gradcam"])(images(), 1)
    torch.testing.assert_close(results["finer:gradcam"].raw["early"], results["gradcam"].raw["early"])


def test_maps_equal_those_of_pytorch_grad_cam_which_with_a_plain_target_is_plain_gradcam() -> None:
    model, inputs = small_net(double=True), images(double=True)
    theirs = peer.FinerCAM(model, [model.early])
    compared = theirs(inputs, target_idx=1, alpha=0.6)
    plain = theirs(inputs, [ClassifierOutputTarget(1)] * 2)
    model.zero_grad()
    ours = CAM(model, "early", ["finer", "gradcam"])(inputs, 1)
    np.testing.assert_allclose(ours["finer:gradcam"].maps.numpy(), compared, atol=1e-5)
    np.testing.assert_allclose(ours["gradcam"].maps.numpy(), plain, atol=1e-5)
    assert np.abs(compared - plain).max() > 0.1, "theirs does not compare where a class is given as a target"


def test_a_plain_mean_counts_every_reference_alike() -> None:
    logits = torch.tensor([5.0, 4.0, 1.0, -9.0])
    assert FinerScore(0, references=[1, 2], alpha=0.5, weighted=False)(logits).item() == 5 - 0.5 * 2.5
    model, inputs = small_net(double=True), images(double=True)
    spec = {"type": "finer", "method": "hirescam", "references": [0, 3], "alpha": 0.5, "weighted": False}
    of_classes = CAM(model, "early", "hirescam")(inputs, [[1, 0, 3]] * 2).raw["early"]
    expected = of_classes[:, 0] - 0.25 * (of_classes[:, 1] + of_classes[:, 2])  # the score is linear in the logits, so the map is, too
    torch.testing.assert_close(CAM(model, "early", spec)(inputs, 1).raw["early"], expected)


def test_what_is_no_class_is_refused() -> None:
    def score(logits: Tensor) -> Tensor:
        return logits.sum()

    for target in (score, ClassProbability(1), FinerScore(1)):
        with pytest.raises(TargetError, match="expected a class's logit as target, got"):
            CAM(small_net(), "early", "finer")(images(), target)
    assert CAM(small_net(), "early", "finer")(images(), ClassScore(1)).maps.amax() > 0


@pytest.mark.parametrize(
    ("name", "words"), [("finer:eigencam", "the same for every class"), ("finer:finer", "it is already a 'finer' method")]
)
def test_what_it_cannot_go_around_is_said(name: str, words: str) -> None:
    with pytest.raises(MethodError, match=words):
        build_method(name)
