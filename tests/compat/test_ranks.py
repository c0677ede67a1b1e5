"""The calls of other packages on signals, pictures and volumes, also where those packages have two or three dimensions only."""

from pathlib import Path
from types import MethodType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.compat import medcam, medcam3d, monai
from camtool.placement import placed
from tests.networks import RANKS, SIZES, images, small_net

pytestmark = pytest.mark.filterwarnings("ignore:.*no positive evidence:camtool.errors.CamtoolWarning")
CLASS = {1: 0, 2: 1, 3: 1}
"""By rank one that the network has evidence for."""


@pytest.mark.parametrize("rank", RANKS)
def test_every_call_has_the_maps_of_cam(rank: int, tmp_path: Path) -> None:
    model, inputs = small_net(rank), images(rank)
    raw = CAM(model, "late")(inputs, CLASS[rank]).raw["late"].clamp(min=0)
    assert raw.amax() > 0
    large = placed(raw, SIZES[rank])
    found = medcam3d.GradCAM(model, [model.late])(inputs, [CLASS[rank]] * 2)
    np.testing.assert_allclose(found, large, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(monai.GradCAM(model, "late", postprocessing=lambda maps: maps)(inputs, CLASS[rank])[:, 0], large)
    injected = medcam.inject(model, tmp_path, layer="late", label=CLASS[rank], evaluate=True, return_score=True, save_maps=True)
    _, scores = injected(inputs, mask=torch.ones(2, 1, *SIZES[rank]))
    assert scores["late"] == [pytest.approx(1) if one.amax() > one.amin() else pytest.approx(np.nan, nan_ok=True) for one in raw]
    highest = raw.flatten(1).amax(dim=1)
    np.testing.assert_allclose(injected.get_attention_map()[:, 0].reshape(2, -1).max(axis=1), (highest > 0).float())
    assert len(list((tmp_path / "late").iterdir())) == 2


def test_a_forward_that_an_instance_was_given_is_the_one_that_is_explained() -> None:
    model, inputs = small_net(), images()

    def doubled(self: nn.Module, pictures: Tensor) -> Tensor:
        return -type(self).forward(self, pictures)

    plain = medcam.inject(model, layer="late", label=1)
    plain(inputs)
    model.forward = MethodType(doubled, model)
    turned = medcam.inject(model, layer="late", label=1)
    torch.testing.assert_close(turned(inputs), model(inputs))
    assert not np.allclose(turned.get_attention_map(), plain.get_attention_map())
