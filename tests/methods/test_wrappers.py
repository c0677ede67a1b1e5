"""Methods around methods: names, what goes around what, and that they compose."""

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import MethodError
from camtool.methods import BaseMethod, GradCAM, Integrated, LayerCAM, Needs, Smooth, build_method, build_methods, find_method, spec_of
from camtool.methods._noise import Noise
from camtool.methods.build import _settings
from camtool.registry import METHODS
from tests.networks import autograd_evidence, images, small_net

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")

NAMES = {
    "smooth": "smooth:gradcam",
    "Smooth:Layer-CAM": "smooth:layercam",
    "integrated:GradCAMPlusPlus": "integrated:gradcam++",
    "smooth:integrated:gradcam": "smooth:integrated:gradcam",
    "smooth:eigencam": "smooth:eigencam",
    "smooth:scorecam": "smooth:scorecam",
}


@pytest.mark.parametrize(("given", "name"), NAMES.items())
def test_a_method_around_another_has_both_names(given: str, name: str) -> None:
    assert build_method(given).name == name
    assert build_method(name).name == name


def test_a_config_names_the_method_inside_by_name_or_dict_or_object() -> None:
    for inside in ("layercam", {"type": "LayerCAM"}, LayerCAM()):
        method = build_method({"type": "Smooth", "method": inside, "samples": 3})
        assert isinstance(method, Smooth)
        assert (method.name, method.samples) == ("smooth:layercam", 3)
    assert build_method("smooth:integrated").name == "smooth:integrated:gradcam"
    assert spec_of("smooth:layercam") == {"type": "smooth", "method": {"type": "layercam"}}
    assert Integrated(method=GradCAM(), steps=3).name == "integrated:gradcam"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("gradcam:layercam", "'gradcam' cannot wrap another method; these can: .*integrated.*smooth"),
        ("smooth:", "expected a method behind the colon, as in 'smooth:gradcam'"),
        ("smooth:layrcam", "Unknown method 'layrcam'; closest: 'layercam'"),
        ("smoth:layercam", "Unknown method 'smoth'; closest: 'smooth'"),
        ("smooth:rollout", "cannot wrap 'rollout': it reads no target layer. Wrap a method that does"),
        ("smooth:shapleycam", "'smooth' cannot wrap 'shapleycam': it needs second derivatives, .* noisy copies of the input"),
        ("smooth:ablationcam", "'smooth' cannot wrap 'ablationcam': it needs scores of other activations, .* noisy copies"),
        ("integrated:eigencam", "cannot wrap 'eigencam': .* gradients alone. Wrap a gradient method, such as 'gradcam'"),
        ("integrated:smooth:layercam", "Wrap a gradient method; try 'smooth:integrated:layercam'"),
        ({"type": "smooth:layercam", "method": "gradcam"}, "named twice"),
        ({"type": "integrated", "steps": 0}, "at least one step, got 0"),
        ({"type": "smooth", "samples": 0}, "at least one sample"),
        ({"type": "smooth", "nosie": 1.0}, "nosie"),
    ],
)
def test_what_cannot_be_is_said(given: str | dict[str, object], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        build_method(given)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("occlusion(patch=32x16, stride=8)", {"type": "occlusion", "patch": (32, 16), "stride": 8}),
        ("Occlusion( baseline = -0.5 )", {"type": "occlusion", "baseline": -0.5}),
        ("occlusion(patch=none,baseline='mean_image')", {"type": "occlusion", "baseline": "mean_image"}),
        ("fem(k=1e-1)", {"type": "FEM", "k": 0.1}),
        ("grad-cam()", {"type": "gradcam"}),
        ("smooth(samples=5,seed=3):fem(k=1.5)", {"type": "Smooth", "samples": 5, "seed": 3, "method": {"type": "FEM", "k": 1.5}}),
        ("smooth(method=layercam)", {"type": "Smooth", "method": "layercam"}),
        ("finer(weighted=False, references=1x2)", {"type": "Finer", "weighted": False, "references": (1, 2)}),
    ],
)
def test_a_name_with_settings_is_the_config_dict(text: str, settings: dict[str, object]) -> None:
    built, expected = build_method(text), build_method(settings)
    assert type(built) is type(expected)
    assert (built.name, _settings(built)) == (expected.name, _settings(expected))
    assert find_method(text) is type(built)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("occlusion(patch=32", r"Cannot read the method 'occlusion\(patch=32'; expected a name with settings, such as 'occlusion\(patch="),
        ("occlusion(32)", r"Cannot read the method 'occlusion\(32\)'"),
        ("occlusion(patch=)", "Cannot read the method"),
        ("occlusion(patch=3,patch=4)", "Cannot read the method"),
        ("occlusion)", "Cannot read the method"),
        ("(patch=3)", "Cannot read the method"),
        ("occlusion(patsch=3)", "has no setting 'patsch'; closest: 'patch'"),
        ("smooth(samples=5):", "expected a method behind the colon"),
        ("smooth(method=fem):gradcam", "named twice"),
        ("occlusion(patch=3):gradcam", "cannot wrap another method"),
        ("occlusion(patch=__import__('os'))", "Cannot read the method"),
    ],
)
def test_a_name_with_settings_that_cannot_be_read_is_one_line(text: str, words: str) -> None:
    with pytest.raises(MethodError, match=words) as caught:
        build_method(text)
    assert "\n" not in str(caught.value)


def test_find_method_gives_the_outer_of_two() -> None:
    assert find_method("smooth:layercam") is Smooth


def test_the_same_method_twice_is_taken_once_and_with_other_settings_twice() -> None:
    assert list(build_methods(["smooth", "smooth:gradcam", "smooth:layercam"])) == ["smooth:gradcam", "smooth:layercam"]
    inside = [{"type": "smooth", "method": {"type": "integrated", "steps": steps}} for steps in (2, 3)]
    assert list(build_methods(inside)) == ["smooth:integrated(steps=2):gradcam", "smooth:integrated(steps=3):gradcam"]


def test_without_noise_smooth_is_the_method_itself_eigen_smooth_included() -> None:
    still = [{"type": "smooth", "method": name, "sigma": 0.0, "samples": 2} for name in ("layercam", "eigencam", "cam")]
    for eigen in (False, True):
        results = CAM(small_net(), "late", [*still, "layercam", "eigencam", "cam"], eigen_smooth=eigen)(images(), [[0, 1], [2, 3]])
        for name in ("layercam", "eigencam", "cam"):
            torch.testing.assert_close(results[f"smooth:{name}"].raw["late"], results[name].raw["late"], rtol=1e-4, atol=1e-6)
            assert results[f"smooth:{name}"].class_discriminative is results[name].class_discriminative


def test_eigen_smooth_is_refused_where_the_method_inside_refuses_it() -> None:
    with pytest.raises(MethodError, match="'kpcacam' is not a sum over channels"):
        CAM(small_net(), "late", "smooth:kpcacam", eigen_smooth=True)(images())


class Quadratic(nn.Module):
    """A linear layer, and behind it a score that is a polynomial of second order."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(2, 4, 3, bias=False)
        self.fc = nn.Linear(4 * 8 * 12, 3)

    def forward(self, image: Tensor) -> Tensor:
        flat = self.features(image).flatten(1)
        return self.fc(flat) + self.fc(flat**2)


def test_integrated_hirescam_sums_to_the_score_less_the_baselines() -> None:
    model, inputs = Quadratic().double(), images(double=True)
    result = CAM(model, "features", {"type": "integrated:hirescam", "steps": 2})(inputs, [[0, 1, 2]] * 2)
    with torch.no_grad():
        expected = model(inputs) - model(torch.zeros_like(inputs))
    torch.testing.assert_close(result.raw["features"].flatten(2).sum(2).double(), expected, rtol=1e-5, atol=1e-6)


def test_the_way_starts_at_the_baseline() -> None:
    model, inputs = small_net(), images()
    at_home = torch.full_like(inputs, 0.5)
    results = CAM(model, "early", [{"type": "integrated", "baseline": 0.5, "steps": 3}, "gradcam"])(at_home, 1)
    torch.testing.assert_close(results["integrated:gradcam"].raw["early"], results["gradcam"].raw["early"])


def test_smooth_around_integrated_is_the_mean_over_noise_of_the_mean_over_the_way() -> None:
    model, inputs = small_net(double=True), images(double=True)
    spec = {"type": "smooth", "samples": 3, "sigma": 0.2, "seed": 5, "method": {"type": "integrated:layercam", "steps": 4}}
    raw = CAM(model, "early", spec)(inputs, [1, 2]).raw["early"]

    expected = torch.zeros_like(raw).double()
    for copy in Noise("any", samples=3, sigma=0.2, seed=5).copies(inputs):
        activations, _, _ = autograd_evidence(model, model.early, copy, [1, 2])
        on_the_way = [autograd_evidence(model, model.early, (step + 0.5) / 4 * copy, [1, 2])[1] for step in range(4)]
        expected += (torch.stack(on_the_way).mean(0).clamp(min=0) * activations).sum(1) / 3
    torch.testing.assert_close(raw.double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["smooth:gradcam", "integrated:gradcam", "smoothgradcam++", "opticam", "scorecam"])
def test_what_takes_long_says_how_far_it_is(name: str) -> None:
    seen: list[tuple[str, int, int]] = []
    CAM(small_net(), "early", name, progress=lambda *told: seen.append(told))(images(), 1)
    assert {what for what, _, _ in seen} == {f"{name} at early"}
    done = [done for _, done, _ in seen]
    assert done == sorted(done)
    assert seen[-1][1] == seen[-1][2]


@pytest.mark.parametrize("name", ["smooth:integrated:layercam", "smooth:scorecam", "integrated:gradcam++", "smooth:smoothgradcam++"])
def test_a_batch_equals_singles_and_the_same_map_comes_twice(name: str) -> None:
    cam, inputs = CAM(small_net(), "early", name), images(count=3)
    batch = cam(inputs, 1).maps
    assert torch.equal(cam(inputs, 1).maps, batch)
    torch.testing.assert_close(torch.cat([cam(inputs[i : i + 1], 1).maps for i in range(3)]), batch, rtol=1e-4, atol=1e-5)


def test_a_method_lies_at_most_two_levels_below_the_base() -> None:
    for method in METHODS.module_dict.values():
        below = [kind for kind in method.__mro__ if issubclass(kind, BaseMethod) and kind is not BaseMethod]
        assert len(below) <= 2, f"{method.__name__}: {' < '.join(kind.__name__ for kind in below)}"


def test_a_wrapper_needs_what_follows_from_the_method_inside() -> None:
    assert build_method("smooth:cdam").needs == Needs(tokens=True, further_gradients=True)
    assert build_method("smooth:eigencam").needs == Needs()
    assert build_method("integrated:cdam").needs == Needs(tokens=True, further_gradients=True)
    assert build_method("finer:ablationcam").needs == build_method("ablationcam").needs
    assert build_method("smooth:finer:scorecam").needs == Needs()
