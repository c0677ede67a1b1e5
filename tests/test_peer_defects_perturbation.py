"""Defects of pytorch-grad-cam 1.5.7 and torchcam 0.5.0 in methods that alter activations or inputs; see also test_peer_defects."""

from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
import torchcam.methods as torchcam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from camtool import CAM
from camtool.instrumentation import batching
from tests.networks import images, small_net


class TwoPlaces(nn.Module):
    """Class 0 is what the first colour says less what the second does, plus a bias; the layer is the picture itself."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.features = nn.Conv2d(2, 2, 1, bias=False)
        self.bias = bias
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(2)[:, :, None, None])

    def forward(self, image: Tensor) -> Tensor:
        means = self.features(image).mean((2, 3))
        return means[:, :1] - means[:, 1:] + self.bias


def two_places() -> Tensor:
    image = torch.zeros(1, 2, 4, 4)
    image[0, 0, 1, 1] = image[0, 1, 2, 3] = 1
    return image


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bias", [0.0, -3.0])
def test_ablationcam_of_a_score_of_zero_or_below_is_neither_nan_nor_inverted(bias: float) -> None:
    model, image = TwoPlaces(bias), two_places()
    with peer.AblationCAM(model=model, target_layers=[model.features]) as cam:
        found = cam(image, [ClassifierOutputTarget(0)])[0]
    assert np.isnan(found).any() if bias == 0 else found[1, 1] == 0 < found[2, 3], "theirs divides by the score"
    result = CAM(model, "features", "ablationcam")(image, 0)
    # Without the first colour the score falls by 1/16, without the second it rises by that.
    torch.testing.assert_close(result.raw["features"], (image[:, 0] - image[:, 1]) / 16)
    assert result.maps[0, 1, 1] > 0.9


def test_ablationcam_does_not_depend_on_how_many_channels_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = TwoPlaces(bias=1), images()
    found, ours = [], []
    for size in (1, 2):
        with peer.AblationCAM(model=model, target_layers=[model.features], batch_size=size) as cam:
            found.append(cam(inputs, [ClassifierOutputTarget(0)] * 2))
        monkeypatch.setitem(batching.AT_ONCE, "cpu", size)
        ours.append(CAM(model, "features", "ablationcam")(inputs, 0).maps)
    assert np.abs(found[0] - found[1]).max() > 0.1, "theirs sets a channel far below the least of the whole batch"
    torch.testing.assert_close(ours[0], ours[1], rtol=1e-4, atol=1e-5)


def test_ablationcam_leaves_the_model_as_it_was_after_an_exception() -> None:
    def exhausted(uses: int) -> Any:
        left = iter(range(uses))
        return lambda logits: logits[1] * (1 if next(left) >= 0 else 0)

    model = small_net()
    layer = model.late
    with pytest.raises(StopIteration), peer.AblationCAM(model=model, target_layers=[layer]) as cam:
        cam(images(count=1), [exhausted(2)])
    assert model.late is not layer, "theirs is left with a layer of its own"
    model = small_net()
    before = [(name, id(module), sorted(vars(module))) for name, module in model.named_modules()]
    with pytest.raises(StopIteration):
        CAM(model, "late", "ablationcam")(images(count=1), exhausted(4))
    assert [(name, id(module), sorted(vars(module))) for name, module in model.named_modules()] == before


class Brightness(nn.Module):
    """Remembers the greatest value it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 3, 3, padding=1)
        self.greatest = 0.0

    def forward(self, image: Tensor) -> Tensor:
        self.greatest = max(self.greatest, image.max().item())
        return self.features(image).mean((2, 3))


@pytest.mark.parametrize(("name", "method", "shown"), [("iscam", torchcam.ISCAM, 5.0), ("sscam", torchcam.SSCAM, 5.0)])
def test_a_masked_picture_is_no_brighter_than_the_picture(name: str, method: Any, shown: float) -> None:
    model, white = Brightness().eval(), torch.ones(1, 1, 8, 8)
    with method(model, "features") as cam:
        cam(0, model(white))
    assert model.greatest > shown, "theirs adds up, or adds noise without bounds"
    model.greatest = 0.0
    CAM(model, "features", name)(white, 0)
    assert model.greatest == pytest.approx(1)


def test_scorecam_of_huge_scores_and_a_dead_channel_is_neither_blank_nor_nan() -> None:
    model = small_net()
    with torch.no_grad():
        model.early[1].weight[2] = model.early[1].bias[2] = 0  # dead: torchcam gives NaN, or weight, to such a channel
        model.fc.weight.mul_(1e4)
    for name in ("scorecam", "fastercam", "iscam", "sscam"):
        result = CAM(model, "early", name)(images(), 1)
        assert result.raw["early"].isfinite().all()
        assert result.maps.amax() > 0.9
