"""A sample that some methods have no map of takes none from the others: of windows that share a pass, and of images of a batch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.apis import Explainer
from camtool.attribution.sliding_window import SlidingWindow
from camtool.errors import LayerError
from camtool.fusion import Mean
from tests.attribution.test_sliding_window import Lights

METHODS = ["gradcam", "xgradcam", "eigencam", "saliency", "guidedgradcam", "cam", "rollout"]


def with_dark_windows(rank: int, seed: int) -> Tensor:
    """Return an input in which random halves along each axis are dark, exactly zero gradients of the score included."""
    generator = np.random.default_rng(seed)
    given = torch.from_numpy(generator.random((1, 1, *[24] * rank), dtype=np.float32))
    for axis in range(rank):
        for start in range(0, 24, 8):
            if generator.random() < 0.4:
                given.narrow(2 + axis, start, 8).zero_()
    return given


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_windows_in_one_pass_have_the_maps_and_the_refusals_of_each_alone(rank: int, seed: int) -> None:
    model, given = Lights(rank), with_dark_windows(rank, seed)
    alone, together = (
        SlidingWindow(CAM(model, method=METHODS, skip_unfit=True), model, 8, 0.0, Mean(), at_once=at_once) for at_once in (1, 4)
    )

    try:
        expected = alone(given, 0)
    except LayerError as error:
        with pytest.raises(LayerError, match=str(error)[:20]):
            together(given, 0)
        return
    found = together(given, 0)

    assert list(found) == list(expected)
    for name, result in expected.items():
        for layer, raw in result.raw.items():
            torch.testing.assert_close(found[name].raw[layer], raw, rtol=1e-4, atol=1e-6)
    assert {name: str(error) for name, error in together.refusals.items()} == {name: str(error) for name, error in alone.refusals.items()}
    assert set(together.refusals) | set(found) == set(METHODS)
    if given.amax() > 0:
        assert {"gradcam", "eigencam", "saliency"} <= set(found)


@pytest.mark.parametrize("dark", [0, 1])
def test_a_batch_with_one_dark_sample_is_not_robbed_of_methods(dark: int) -> None:
    model = Lights(2)
    given = torch.rand(2, 1, 8, 8)
    given[dark] = 0
    cam = CAM(model, "conv", ["gradcam", "eigencam"], skip_unfit=True)

    with pytest.raises(LayerError, match=rf"sample {dark}\) has a gradient of exactly zero"):
        cam(given, 0)
    with pytest.raises(LayerError, match="exactly zero"):
        SlidingWindow(cam, model, 4, 0.0, Mean())(given, 0)


class Root(nn.Module):
    """The score is the mean of the inputs' roots, whose gradient at zero is infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.conv(inputs).sqrt().flatten(1).mean(dim=1, keepdim=True)


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
@pytest.mark.parametrize("at_once", [1, 4])
def test_infinite_gradients_are_those_of_their_window(at_once: int) -> None:
    model, given = Root(), torch.ones(1, 1, 8, 8)
    given[..., :4, :4] = 0  # where the root's gradient is infinite
    sliding = SlidingWindow(CAM(model, "conv", ["gradcam", "eigencam"], skip_unfit=True), model, 4, 0.0, Mean(), at_once=at_once)

    results = sliding(given, 0)

    assert set(results) == {"gradcam", "eigencam"}
    assert results["gradcam"].raw["conv"][0, :4, :4].abs().max() == 0
    assert results["gradcam"].raw["conv"][0, 4:, 4:].min() > 0


NETWORK = """
from torch import nn


class Lights(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1)
        nn.init.constant_(self.conv.weight, 1 / 27)
        nn.init.constant_(self.conv.bias, -0.1)

    def forward(self, image):
        return self.conv(image).relu().mean((2, 3))
"""


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
def test_each_image_of_a_batch_says_which_methods_it_has_no_map_of(tmp_path: Path) -> None:
    (tmp_path / "lights.py").write_text(NETWORK)
    (tmp_path / "c.py").write_text(
        "model = dict(type='camtool.TorchModel', factory='lights.py:Lights', with_weights=True, preprocess=dict(mean=0, std=1))\n"
    )
    explainer = Explainer(tmp_path / "c.py", method="all")
    bright, dark = np.full((16, 16, 3), 200, np.uint8), np.zeros((16, 16, 3), np.uint8)

    for images, number in (([bright, dark], 0), ([dark, bright], 1)):
        explanations = explainer(images, categories=0)
        assert "exactly zero" in explanations[1 - number].refused["gradcam"]
        assert "gradcam" not in explanations[1 - number].results
        assert "gradcam" not in explanations[number].refused
        assert "gradcam" in explanations[number].results
