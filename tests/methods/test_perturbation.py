"""What methods that put questions to the network owe beyond the contract of every method."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import MethodError
from camtool.instrumentation import batching
from camtool.methods import build_method, find_method
from camtool.methods.perturbation._masks import as_masks
from camtool.targets import ClassProbability, RawOutput
from tests.methods.kinds import OF_MAPS
from tests.methods.replicas_perturbation import fastercam_of, groupcam_of, polycam_of
from tests.methods.test_contract import evidence
from tests.networks import images, small_net

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")

ASKING = [name for name in OF_MAPS if find_method(name).__module__.startswith("camtool.methods.perturbation.")]
MASKING = ["scorecam", "fastercam", "sscam", "iscam", "groupcam", "opticam", "polycam"]


@pytest.mark.parametrize("name", ASKING)
def test_the_number_of_copies_at_a_time_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = small_net(double=True), images(double=True)
    raws = []
    for at_once in (1, 3, 1000):
        monkeypatch.setitem(batching.AT_ONCE, "cpu", at_once)
        raws.append(CAM(model, "early", name)(inputs, [[0, 1], [2, 3]]).raw["early"])
    torch.testing.assert_close(raws[0], raws[2], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(raws[1], raws[2], rtol=1e-5, atol=1e-7)


class Watched(nn.Module):
    """Remembers the least and the greatest value that its inputs had."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 3, 3, padding=1)
        self.range = (0.0, 0.0)

    def forward(self, image: Tensor) -> Tensor:
        lowest, highest = (float(bound) for bound in image.detach().aminmax())
        self.range = (min(self.range[0], lowest), max(self.range[1], highest))
        return nn.functional.softplus(self.features(image)).mean((2, 3))


@pytest.mark.parametrize("name", MASKING)
def test_a_mask_stays_within_0_and_1(name: str) -> None:
    # torchcam's IS-CAM shows the network a white picture at 5.5 times its brightness, its SS-CAM at -7 to 8 times.
    model = Watched()
    CAM(model, "features", name)(torch.ones(1, 1, 8, 8), 0)
    assert model.range == pytest.approx((0.0, 1.0), abs=1e-6)


@pytest.mark.parametrize("name", ["scorecam", "fastercam", "sscam", "iscam"])
def test_a_dead_channel_has_weight_zero_and_a_dead_layer_a_map_of_zeros(name: str) -> None:
    model = Watched()
    with torch.no_grad():
        model.features.weight[1] = 0
        model.features.bias[1] = 5
    inputs = images(channels=1)
    partly = CAM(model, "features", name)(inputs, 0).raw["features"]
    living = model.features(inputs).detach()[:, [0, 2]]
    assert (partly <= living.amax(1) + 1e-6).all(), "the weights of the living sum to 1"
    assert (partly >= living.amin(1) - 1e-6).all()
    with torch.no_grad():
        model.features.weight.zero_()
    result = CAM(model, "features", name)(images(channels=1), 0)
    assert (result.raw["features"] == 0).all()
    assert (result.maps == 0).all()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_fastercam_takes_its_k_from_the_config(k: int) -> None:
    given, samples = evidence(2)
    expected = np.stack([fastercam_of(sample, k).sum(axis=0) for sample in samples])
    actual = build_method({"type": "FasterScoreCAM", "k": k}).raw_map(given)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_fastercam_with_all_channels_is_scorecam() -> None:
    given, _ = evidence(2)
    torch.testing.assert_close(build_method("fastercam").raw_map(given), build_method("scorecam").raw_map(given))


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_groupcam_takes_its_groups_from_the_config(groups: int) -> None:
    given, samples = evidence(2)
    expected = np.stack([groupcam_of(sample, groups) for sample in samples])
    np.testing.assert_allclose(build_method({"type": "groupcam", "groups": groups}).raw_map(given).numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("variant", "of_shown", "of_hidden"), [("plus", 1, 0), ("minus", 0, 1), ("both", 1, 1)])
def test_polycam_takes_its_variant_from_the_config(variant: str, of_shown: int, of_hidden: int) -> None:
    given, samples = evidence(2)
    expected = np.stack([polycam_of(sample, of_shown, of_hidden).sum(axis=0) for sample in samples])
    actual = build_method({"type": "PolyCAM", "variant": variant}).raw_map(given)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_a_channel_that_is_the_same_everywhere_weighs_nothing_in_polycam() -> None:
    given, _ = evidence(2)
    high, zero = given.activations.clone(), given.activations.clone()
    high[:, 1], zero[:, 1] = 7.0, 0.0
    maps = [build_method("polycam").raw_map(replace(given, activations=activations)) for activations in (high, zero)]
    assert torch.equal(*maps)


def test_polycam_explains_a_classs_probability_unless_something_else_is_asked_for() -> None:
    model, inputs = small_net(double=True), images(double=True)
    found = CAM(model, "early", "polycam")(inputs, 1).raw["early"]
    assert torch.equal(found, CAM(model, "early", "polycam")(inputs, ClassProbability(1)).raw["early"])
    assert not torch.allclose(found, CAM(model, "early", "polycam")(inputs, RawOutput(1)).raw["early"], rtol=1e-2)


def test_a_group_that_shows_nothing_has_weight_zero() -> None:
    given, _ = evidence(2)
    dead = replace(given, activations=torch.full_like(given.activations, 2.0))
    assert (build_method("groupcam").raw_map(dead) == 0).all()


def test_opticam_shows_what_scores_higher_than_equal_weights_do() -> None:
    model, inputs = small_net(double=True), images(double=True)
    activations = model.early(inputs).detach()
    found = CAM(model, "early", "opticam")(inputs, 1).raw["early"]

    def score(saliency: Tensor) -> Tensor:
        return model(inputs * as_masks(saliency.unsqueeze(1), inputs.shape[2:]))[:, 1]

    with torch.no_grad():
        assert (score(found) > score(activations.mean(1)) + 1e-3).all()


class ByPassed(Watched):
    """Its score changes with the picture, by a way that does not lead through the layer."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) + 1e3 * image.mean((2, 3))


def test_opticam_of_a_layer_that_is_flat_is_flat_and_not_nan() -> None:
    model = ByPassed()
    with torch.no_grad():
        model.features.weight.zero_()
        model.features.bias.copy_(torch.tensor([1.0, 2.0, 6.0]))
    raw = CAM(model, "features", "opticam")(images(channels=1), 0).raw["features"]
    torch.testing.assert_close(raw, torch.full_like(raw, 3.0))


def test_sscam_without_noise_and_iscam_of_one_step_are_scorecam() -> None:
    given, _ = evidence(2)
    expected = build_method("scorecam").raw_map(given)
    torch.testing.assert_close(build_method({"type": "SSCAM", "sigma": 0.0, "samples": 2}).raw_map(given), expected)
    torch.testing.assert_close(build_method({"type": "ISCAM", "steps": 1}).raw_map(given), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"type": "fastercam", "k": 0}, "k, a number of channels, of at least 1, got 0"),
        ({"type": "iscam", "steps": 0}, "steps of at least 1, got 0"),
        ({"type": "groupcam", "quantile": 1.0}, r"a quantile in \[0, 1\)"),
        ({"type": "groupcam", "groups": 0}, "groups and kernel of at least 1"),
        ({"type": "polycam", "variant": "plusminus"}, "a variant of: plus, minus, both, got 'plusminus'"),
        ({"type": "opticam", "steps": 0}, "steps of at least 1"),
        ({"type": "opticam", "rate": 0.0}, "a rate above 0"),
        ({"type": "sscam", "samples": 0}, "samples of at least 1"),
        ({"type": "sscam", "sigma": -1.0}, "sigma of at least 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        build_method(arguments)
