"""Figures of raw maps with their signs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from camtool import CAM, Explainer
from camtool.functional import resize
from camtool.visualization.overlay import heatmap
from tests.cli.fixtures import CAT, Run
from tests.networks import images, small_net

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")  # of untrained weights


def test_signed_maps_are_raw_maps_over_their_magnitude() -> None:
    model, inputs = small_net(double=True), images(double=True)
    result = CAM(model, ["early", "late"], "hirescam")(inputs, [[0, 1], [2, 3]])
    expected = []
    for layer in ("early", "late"):
        raw = result.raw[layer]
        large = resize((raw / raw.abs().amax((2, 3), keepdim=True)).flatten(0, 1), inputs.shape[2:]).view(2, 2, *inputs.shape[2:])
        assert large.amin() < 0 < large.amax()
        alone = large / large.abs().amax((2, 3), keepdim=True)
        torch.testing.assert_close(result.signed(layer), alone)
        expected.append(large)
    mean = torch.stack(expected).mean(dim=0)
    torch.testing.assert_close(result.signed(), mean / mean.abs().amax((2, 3), keepdim=True))
    single = CAM(model, ["early", "late"], "hirescam")(inputs, [1, 3])
    torch.testing.assert_close(single.signed(), result.signed()[:, 1])


def test_a_signed_figure_has_zero_in_the_middle_of_a_diverging_colour_map(small_path: Path) -> None:
    explanation = Explainer(small_path, random_weights=True, seed=7, method="hirescam")(CAT, categories=[0])
    signed = explanation.results["hirescam"].signed()[0, 0].numpy()
    assert np.abs(signed).max() == 1
    for options, colormap in (({}, "coolwarm"), ({"colormap": "RdBu_r"}, "RdBu_r")):
        drawn = explanation.figure(kind="heatmap", signed=True, **options)
        # Enlarged five times, above the words on random weights
        np.testing.assert_array_equal(drawn[: 5 * len(signed) : 5, ::5], heatmap(0.5 + signed / 2, colormap))


def test_signed_is_an_option_of_vis(run: Run, small_path: Path) -> None:
    for name, more in (("plain.png", ()), ("signed.png", ("--signed",))):
        run("vis", CAT, small_path, "--random-weights", "--figure", "heatmap", "--save-path", name, *more)
    assert Path("plain.png").read_bytes() != Path("signed.png").read_bytes()
