"""Names of methods with their settings: two of one method are told apart in results, captions, reports and files."""

import pytest
import torch

from camtool import CAM
from camtool.apis.outputs import as_file_name
from camtool.errors import MethodError
from camtool.methods import BaseMethod, build_method, build_methods, label_of, settings_of
from tests.methods.kinds import NAMES
from tests.networks import images, small_net

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")

TEXTS = [
    "occlusion(patch=32x16,stride=8)",
    "occlusion(baseline=gaussian)",
    "occlusion(baseline=-0.5)",
    "smooth(samples=5,seed=3):fem(k=1.5)",
    "smooth:sess(scales=3):layercam",
    "finer(references=1x2,weighted=false):gradcam",
    "winsorcam(percentile=50.0)",
    "cam(classifier=head.fc)",
    "legrad(blocks=0x5x-1)",
    "polycam(variant=plus)",
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_label_builds_the_same_method(text: str) -> None:
    method = build_method(text)
    assert label_of(method) == text
    assert settings_of(build_method(label_of(method))) == settings_of(method)


@pytest.mark.parametrize("name", NAMES)
def test_of_defaults_the_label_is_the_name(name: str) -> None:
    assert label_of(build_method(name)) == build_method(name).name
    assert settings_of(build_method(name)) == {}


def test_labels_of_different_settings_are_different_file_names() -> None:
    names = {as_file_name(text) for text in TEXTS} | {as_file_name("occlusion(baseline=0.5)")}
    assert len(names) == len(TEXTS) + 1


def test_two_settings_of_one_method_are_two_results() -> None:
    results = CAM(small_net(), "early", ["fem(k=1.0)", "fem", "smooth(samples=2)", "gradcam"])(images(), 1)
    assert list(results) == ["fem(k=1.0)", "fem", "smooth:gradcam", "gradcam"]
    assert [result.label for result in results.values()] == ["fem(k=1.0)", "fem", "smooth(samples=2):gradcam", "gradcam"]
    assert results["fem(k=1.0)"].settings == {"k": 1.0}
    for text in ("fem(k=1.0)", "fem"):
        assert torch.equal(results[text].maps, CAM(small_net(), "early", text)(images(), 1).maps)
    assert not torch.equal(results["fem(k=1.0)"].maps, results["fem"].maps)


def test_what_no_label_tells_apart_is_refused() -> None:
    class Hidden(BaseMethod):
        name, paper = "hidden", "none"

        def __init__(self, *, k: int = 0) -> None:
            self._k = k

    with pytest.raises(MethodError, match="'hidden' is given twice with different settings"):
        build_methods([Hidden(k=1), Hidden(k=2)])
