"""What the engine refuses, in words, instead of drawing something."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolError, ConfigError, LayerError, LayoutError, MethodError, TargetError
from camtool.methods import find_method
from tests.networks import CLASSES, images, small_net, small_vit


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([1], "2 samples, 1 targets"),
        ([1, 1, 1], "2 samples, 3 targets"),
        (CLASSES, "Class index 4 is out of range: the network has 4 classes, 0 to 3"),
        (-1, "Class index -1 is out of range"),
        ([[0, 1], [1]], "same number of targets"),
        (1.5, "class index or a callable"),
        (lambda logits: logits, "one number per sample"),
    ],
)
@pytest.mark.parametrize("method", ["gradcam", "eigencam"])
def test_wrong_targets(targets: Any, message: str, method: str) -> None:
    if method == "eigencam" and callable(targets):
        return  # a class-agnostic map asks no callable
    for layer in ("early", None):
        with pytest.raises(TargetError, match=message):
            CAM(small_net(), layer, method)(images(), targets)


def test_an_output_that_is_no_score_of_the_samples() -> None:
    class Folding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = small_net()

        def forward(self, inputs: Tensor) -> Tensor:
            return self.network(inputs).sum(0, keepdim=True)

    with pytest.raises(TargetError, match=r"No scores of 2 samples.*shape \(1, 4\)"):
        CAM(Folding(), "network.early")(images(), None)


def test_a_layer_that_is_never_called() -> None:
    model = small_net()
    model.spare = nn.Conv2d(2, 2, 1)
    with pytest.raises(LayerError, match="'spare' is never called in this forward pass"):
        CAM(model, "spare")(images(), 1)


def test_a_layer_the_score_does_not_depend_on() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.aside, self.network = nn.Conv2d(2, 2, 1), small_net()

        def forward(self, inputs: Tensor) -> Tensor:
            self.aside(inputs)
            return self.network(inputs)

    with pytest.raises(LayerError, match="'aside': the score does not depend on it"):
        CAM(Aside(), "aside")(images(), 1)
    with pytest.raises(LayerError, match="Layer 'aside': the score does not depend on it"):
        CAM(Aside(), ["aside", "network.early"])(images(), 1)


def test_a_gradient_of_exactly_zero_names_the_sample_and_the_target() -> None:
    model = small_net()
    with torch.no_grad():
        model.fc.weight[2] = 0
    with pytest.raises(LayerError, match=r"'early': the score of target 2 \(sample 1\) has a gradient of exactly zero"):
        CAM(model, "early")(images(), [1, 2])


@pytest.mark.parametrize("layer", ["pool", "dropout", "fc"])
def test_a_layer_without_spatial_extent(layer: str) -> None:
    with pytest.raises(LayoutError, match=f"Layer '{layer}': "):
        CAM(small_net(), layer)(images(), 1)


def test_a_layer_whose_samples_are_folded_into_another_axis() -> None:
    class Windowed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.window = nn.Conv2d(2, CLASSES, 1)

        def forward(self, inputs: Tensor) -> Tensor:
            halves = torch.cat(inputs.chunk(2, dim=3))
            return self.window(halves).mean((2, 3)).unflatten(0, (2, -1)).mean(0)

    with pytest.raises(LayoutError, match=r"shape \(4, 4, 10, 7\) does not start with the batch of 2: its samples are folded"):
        CAM(Windowed(), "window")(images(), 1)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    model = small_net()
    with torch.no_grad():
        model.early[0].weight[0] = value
    for method in ("gradcam", "eigencam"):
        with pytest.raises(CamtoolError, match=r"(scores are NaN|Layer 'early' gives NaN or infinite values) on this input"):
            CAM(model, "early", method)(images(), 1)
        with pytest.raises(CamtoolError, match="on this input"):
            CAM(model, None, method)(images(), 1)


def test_a_gradient_that_is_not_finite() -> None:
    with pytest.raises(MethodError, match="Method 'gradcam' gives NaN or infinite values at layer 'early'"):
        CAM(small_net(), "early")(images(), lambda logits: logits[0] * torch.inf)


@pytest.mark.parametrize(
    "inputs",
    [
        torch.zeros(2, 2),
        torch.zeros(1, 1, 2, 2, 2, 2),
        torch.zeros(0, 2, 8, 8),
        torch.zeros(1, 2, 8, 8, dtype=torch.uint8),
        torch.zeros(1, 2, 8, 0),
    ],
    ids=["no positions", "four axes", "no samples", "integers", "no columns"],
)
def test_inputs_that_are_no_batch_of_maps(inputs: Tensor) -> None:
    with pytest.raises(CamtoolError, match=r"Expected inputs \(n, c, \*spatial\)"):
        CAM(small_net(), "early")(inputs)


def test_inputs_that_are_no_tensor_are_refused_before_anything_runs() -> None:
    # Under the tests' import hook the type is checked first; both are what a caller sees as a clear refusal.
    with pytest.raises((CamtoolError, TypeError), match=r"ndarray|numpy|Expected"):
        CAM(small_net(), "early")(images().numpy())


def test_a_torch_compile_wrapper_is_looked_through() -> None:
    model = small_net()
    wrapper = torch.compile(model, backend="eager")
    assert torch.equal(CAM(wrapper, "early", "layercam")(images(), 1).maps, CAM(model, "early", "layercam")(images(), 1).maps)
    assert CAM(wrapper, "early").target_layers == ["early"]


def test_a_model_compiled_in_place() -> None:
    model = small_net()
    model.late.compile(backend="eager")
    with pytest.raises(CamtoolError, match=r"compiled in place \(model.compile\(\)\)"):
        CAM(model, "early")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_model_and_a_scripted_layer() -> None:
    model = small_net()
    traced = torch.jit.trace(model, images())
    with pytest.raises(CamtoolError, match=r"scripted \(torch.jit\)"):
        CAM(traced, "early")
    model.early = torch.jit.trace(model.early, images())
    with pytest.raises(LayerError, match="Layer 'early' is scripted"):
        CAM(model, "early")
    CAM(model, "late", "layercam")(images(), 1)


def test_a_model_made_under_inference_mode() -> None:
    with torch.inference_mode():
        model = small_net()
    with pytest.raises(CamtoolError, match=r"built under torch\.inference_mode"):
        CAM(model, "early")(images(), 1)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: CAM(small_net(), "layer5"), LayerError, "No layer 'layer5'"),
        (lambda: CAM(small_net(), []), LayerError, "No target layer given"),
        (lambda: CAM(small_net(), nn.ReLU()), LayerError, "not part of this SmallNet"),
        (lambda: CAM(small_net(), "early", "grandcam"), MethodError, "Unknown method 'grandcam'; closest: 'gradcam'"),
        (lambda: CAM(small_net(), "early", []), MethodError, "No method given"),
        (lambda: CAM(small_net(), "early", {"type": "FEM", "q": 1}), MethodError, "'fem'.*'q'"),
        (lambda: CAM(small_net(), "early", {"k": 1}), MethodError, "a name or a dict with 'type'"),
        (lambda: CAM(small_net(), "early", layout="NHWC"), ConfigError, "Unknown layout 'NHWC'"),
    ],
)
def test_mistakes_are_told_when_the_engine_is_built(build: Callable[[], CAM], error: type[CamtoolError], message: str) -> None:
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize("spelling", ["gradcam++", "GradCAM++", "GradCAMPlusPlus", "gradcampp", "grad-cam++", "GRADCAM_PLUS_PLUS"])
def test_a_method_is_found_in_any_spelling(spelling: str) -> None:
    assert find_method(spelling).name == "gradcam++"


def test_fullcam_is_an_alias_and_gradcam_is_not_taken_for_its_neighbours() -> None:
    assert find_method("fullcam").name == "hirescam"
    assert find_method("Grad-CAM").name == "gradcam"
    assert find_method("CAM").name == "cam"


WARNING_SCRIPT = """
import warnings, torch
from camtool import CAM
from tests.networks import images, small_net
model = small_net()
torch.nn.init.constant_(model.fc.weight, -1.0)
model.late[2] = model.early[2]
for aug_smooth in (False, True):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CAM(model, "early[2]", "gradcam", aug_smooth=aug_smooth)(images(), 1)  # here
    assert caught
    assert all(one.filename == "<string>" and one.lineno == 11 for one in caught), caught
"""


def test_warnings_point_at_the_line_that_called() -> None:
    # In a process of its own: the import hook of the tests adds frames.
    finished = subprocess.run(
        [sys.executable, "-c", WARNING_SCRIPT], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")  # of untrained weights there is something to be said
def test_methods_that_do_not_fit_are_left_out_if_asked_for_and_the_others_are_what_they_are_alone() -> None:
    model, inputs = small_vit(), torch.rand(1, 3, 64, 64)
    cam = CAM(model, method=["scorecam", "gradcam", "cam", "rollout", "guidedbackprop", "guidedgradcam", "fullgrad"], skip_unfit=True)
    results = cam(inputs, 3)

    assert set(results) == {"scorecam", "gradcam", "rollout", "fullgrad"}
    assert set(cam.refused) == {"cam", "guidedbackprop", "guidedgradcam"}
    for name, result in results.items():
        torch.testing.assert_close(result.maps, CAM(model, method=name)(inputs, 3).maps, rtol=1e-4, atol=1e-5)


class Detached(nn.Module):
    """A network that cuts the graph behind its features, as some frozen heads do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_net()

    def forward(self, image: Tensor) -> Tensor:
        features = self.inner.late(self.inner.early(image))
        with torch.no_grad():
            return self.inner.fc(features.mean((2, 3)))


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
def test_a_layer_without_gradient_stops_those_methods_only_that_take_one() -> None:
    asked = ["gradcam", "eigencam", "scorecam", "smooth:eigencam", "smooth:gradcam", "shapleycam", "cam"]
    cam = CAM(Detached(), "inner.late", asked, skip_unfit=True)
    assert set(cam(images(), 1)) == {"eigencam", "scorecam", "smooth:eigencam", "cam"}
    assert all("no gradient" in why for why in cam.refused.values()), cam.refused
    dead = small_net()
    torch.nn.init.zeros_(dead.fc.weight)
    cam = CAM(dead, "late", ["gradcam", "eigencam", "scorecam", "smooth:layercam"], skip_unfit=True)
    assert set(cam(images(), 1)) == {"eigencam", "scorecam"}
    assert all("exactly zero" in why for why in cam.refused.values()), cam.refused


def test_a_layer_that_gives_nan_stops_all_methods() -> None:
    class Repaired(Detached):
        def forward(self, image: Tensor) -> Tensor:
            return self.inner.fc(self.inner.late(self.inner.early(image).nan_to_num(0)).mean((2, 3)))

    broken = Repaired()
    with torch.no_grad():
        broken.inner.early[0].bias.fill_(float("nan"))
    with pytest.raises(LayerError, match="NaN or infinite values on this input"):
        CAM(broken, "inner.early", ["gradcam", "eigencam"], skip_unfit=True)(images(), 1)


def test_where_no_method_fits_the_reason_of_each_is_the_error() -> None:
    with pytest.raises(MethodError, match=r"No method fits this network\. cam: .* global average pooling"):
        CAM(small_vit(), method=["cam"], skip_unfit=True)(torch.rand(1, 3, 64, 64))


def test_the_engine_without_skip_unfit_still_refuses_all_for_one() -> None:
    with pytest.raises(MethodError, match="global average pooling"):
        CAM(small_vit(), method=["gradcam", "cam"])(torch.rand(1, 3, 64, 64))
