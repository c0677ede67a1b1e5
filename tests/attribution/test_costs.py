"""What a method's maps cost: how many passes are told before they are begun, and that these are the ones that are made."""

import pytest
import torch
from torch import nn

from camtool import CAM
from camtool.attribution.costs import MANY
from camtool.errors import MethodError
from camtool.methods import build_method, reads_layers
from tests.methods.kinds import NAMES, OF_ATTENTION, OF_TOKENS

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")

CHANNELS, SIDE = 40, 12
SPECS = [
    *(name for name in NAMES if name not in (*OF_ATTENTION, *OF_TOKENS)),
    "smooth:gradcam",
    "smooth:smooth:layercam",
    "finer:gradcam",
    "integrated:hirescam",
    {"type": "occlusion", "patch": 6},
    {"type": "sscam", "samples": 2},
    {"type": "polycam", "variant": "plus"},
]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 3))
    return nn.Sequential(nn.Conv2d(2, CHANNELS, 3, stride=2, padding=1), nn.ReLU(), *pooled).eval()


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_method_makes_the_passes_that_it_tells(spec: str | dict[str, object]) -> None:
    model, samples = network(), 0
    inputs = torch.rand(1, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    method = build_method(spec)
    told: list[tuple[str, int, float]] = []
    cam = CAM(model, "1" if reads_layers(method) else None, method, announce=lambda *cost: told.append(cost))

    def count(module: nn.Module, arguments: object, output: torch.Tensor) -> None:
        nonlocal samples
        samples += len(output)

    with model[-1].register_forward_hook(count):
        try:
            cam(inputs, 1)
        except MethodError as refusal:
            pytest.fail(str(refusal))
    expected = method.further_passes(CHANNELS, (SIDE // 2) ** 2, (SIDE, SIDE))
    assert expected <= samples <= 1.25 * expected + 8  # the shared pass, checks of copies, a score of nothing
    assert [cost[:2] for cost in told] == ([(method.name, expected)] if expected > MANY else [])


def test_every_target_and_copy_counts_unless_the_targets_share_the_passes() -> None:
    told: list[tuple[str, int, float]] = []
    inputs = torch.rand(2, 2, SIDE, SIDE)
    cam = CAM(network(), "1", ["opticam", "scorecam"], aug_smooth=True, announce=lambda *cost: told.append(cost))
    cam(inputs, [[0, 1], [1, 2]])
    (_, passes, of_each), (_, shared_passes, of_both) = told
    assert (passes, shared_passes) == (6 * 50, 6 * CHANNELS)
    assert of_each / (passes * 4) == pytest.approx(of_both / (shared_passes * 2))
