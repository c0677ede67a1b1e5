"""Baselines: what a map looks like that knows nothing of the network."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from camtool import CAM
from camtool.errors import MethodError
from camtool.methods import build_method
from camtool.methods.baseline.edge_cam import sobel_magnitude
from tests.networks import images, small_net


def test_the_sobel_magnitude_of_a_picture_equals_that_of_opencv() -> None:
    picture = images(count=1, channels=1, double=True)
    grey = picture[0, 0].numpy()
    along = [cv2.Sobel(grey, cv2.CV_64F, *axes, borderType=cv2.BORDER_REPLICATE) for axes in ((1, 0), (0, 1))]
    expected = np.hypot(*along) / 8  # OpenCV's kernels are (-1, 0, 1) and (1, 2, 1)
    np.testing.assert_allclose(sobel_magnitude(picture)[0, 0].numpy(), expected, atol=1e-12)


def test_edges_have_the_layers_grid_and_lie_where_the_input_has_them() -> None:
    image = torch.zeros(1, 2, 8, 12)
    image[..., 6:] = 1
    raw = CAM(small_net(), "early", "edgecam")(image).raw["early"]
    assert raw.shape == (1, 4, 6)
    assert (raw[..., [0, 1, 4, 5]] == 0).all()
    # Two channels with a step of 1 give sqrt(2) / 2 at the two columns beside it, one of the two in each cell.
    torch.testing.assert_close(raw[..., 2:4], torch.full((1, 4, 2), 2**0.5 / 4))


def test_a_baseline_does_not_depend_on_the_weights() -> None:
    other = small_net()
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    for name in ("centercam", "edgecam"):
        one, two = (CAM(model, "early", name)(images(), 1).maps for model in (small_net(), other))
        assert torch.equal(one, two)
        assert one.amax() > 0.99


@pytest.mark.parametrize("sigma", [0.0, -1.0])
def test_a_gaussian_without_width_is_refused(sigma: float) -> None:
    with pytest.raises(MethodError, match="above 0"):
        build_method({"type": "centercam", "sigma": sigma})
