"""Explainer and Explanation: what CAM gives, with names, figures and files, for images in any form."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from camtool import CAM, Explainer, Explanation
from camtool.apis.settings import every_method
from camtool.errors import CamtoolError, CamtoolWarning, ConfigError, ImageError, MethodError, OutputError, TargetError, warn
from camtool.io.images import read_picture
from camtool.models import Network
from tests.cli.fixtures import CAT, ESPRESSO, PAIR, ROCKET

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")  # of untrained weights


@pytest.fixture(scope="module")
def explainer(small_path: Path) -> Explainer:
    return Explainer(small_path, random_weights=True, seed=7, method=["gradcam", "layercam"])


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)


def test_an_explanation_is_what_cam_gives_for_the_preprocessed_image(explainer: Explainer) -> None:
    explanation = explainer(CAT, categories=[3, 1])

    network = explainer.network
    results = CAM(network.model, method=["gradcam", "layercam"])(network.preprocess(read_picture(Path(CAT))), [[3, 1]])
    assert isinstance(explanation, Explanation)
    assert list(explanation.results) == ["gradcam", "layercam"]
    for method, result in results.items():
        found = explanation.results[method]
        assert found.maps.shape == (1, 2, 48, 48)
        torch.testing.assert_close(found.maps, result.maps)
        torch.testing.assert_close(found.logits, result.logits)
        assert found.targets == [[3, 1]]
    ranking = results["gradcam"].logits[0].argsort(descending=True).tolist()
    assert [facts["index"] for facts in explanation.top5] == ranking
    assert explanation.predicted == ranking[0]
    assert [facts["index"] for facts in explanation.targets] == [3, 1]
    probabilities = results["gradcam"].logits[0].softmax(0)
    assert [facts["probability"] for facts in explanation.targets] == pytest.approx(probabilities[[3, 1]].tolist(), abs=1e-6)


def test_a_list_gives_a_list_that_is_what_each_image_gives_alone_whatever_the_batch(explainer: Explainer, noise: np.ndarray) -> None:
    images = [CAT, noise, ESPRESSO, ROCKET, noise[:40]]
    alone = [explainer(image) for image in images]
    for batch_size in (1, 2, 8):
        together = explainer(images, batch_size=batch_size)
        assert [one.image.name for one in together] == [CAT, "image_1", ESPRESSO, ROCKET, "image_4"]
        for one, other in zip(together, alone, strict=True):
            for method, result in one.results.items():
                assert result.maps.shape[:2] == (1, 1)
                assert result.predicted == other.results[method].predicted
                torch.testing.assert_close(result.maps, other.results[method].maps, rtol=1e-4, atol=1e-5)
                for path, raw in result.raw.items():
                    torch.testing.assert_close(raw, other.results[method].raw[path], rtol=1e-4, atol=1e-6)
    assert explainer([]) == []
    assert [one.image.name for one in explainer((CAT,))] == [CAT]


def _written(pixels: np.ndarray, folder: Path) -> Path:
    Image.fromarray(pixels).save(folder / "noise.png")
    return folder / "noise.png"


@pytest.mark.parametrize(
    "form",
    [
        lambda pixels, _: Image.fromarray(pixels),
        lambda pixels, _: pixels.astype(np.float64) / 255,
        lambda pixels, _: torch.from_numpy(pixels).permute(2, 0, 1),
        lambda pixels, _: torch.from_numpy(pixels).permute(2, 0, 1).float() / 255,
        lambda pixels, _: np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]),
        lambda pixels, folder: str(_written(pixels, folder)),
        _written,
    ],
    ids=["PIL", "float array", "uint8 tensor", "float tensor", "RGBA", "str", "Path"],
)
def test_an_image_may_come_in_any_form(
    form: Callable[[np.ndarray, Path], Any], explainer: Explainer, noise: np.ndarray, tmp_path: Path
) -> None:
    expected, explanation = explainer(noise), explainer(form(noise, tmp_path))
    assert np.array_equal(explanation.image.picture, noise)
    assert torch.equal(explanation.results["gradcam"].maps, expected.results["gradcam"].maps)


@pytest.mark.parametrize(
    "grey", [np.arange(64 * 64, dtype=np.uint8).reshape(64, 64), np.ones((64, 64, 1), np.uint8), torch.zeros(1, 64, 64)]
)
def test_a_grey_image_is_taken_too(grey: Any, explainer: Explainer) -> None:
    assert explainer(grey).image.picture.shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.zeros(2, 3, 64, 64), r"Expected an image \(c, h, w\).*got a tensor of shape \(2, 3, 64, 64\).*as a list"),
        (torch.randn(3, 64, 64), r"within \[0, 1\]; got float32 from -.*camtool.CAM"),
        (np.zeros((64, 64, 5), np.uint8), r"got an array of shape \(64, 64, 5\)"),
        (np.full((64, 64), 300, np.int32), "in uint8, or in floating point"),
        (np.full((64, 64), np.nan), r"within \[0, 1\]"),
        (np.zeros((1, 64, 3), np.uint8), "at least 2 pixels"),
        ("no/such/cat.jpg", "No picture 'no/such/cat.jpg'"),
    ],
)
def test_what_is_no_image_is_said(image: Any, words: str, explainer: Explainer) -> None:
    with pytest.raises(ImageError, match=words):
        explainer(image)


def test_the_report_is_json_and_says_what_the_command_line_says(explainer: Explainer) -> None:
    report = json.loads(json.dumps(explainer(CAT).to_dict(), allow_nan=False))
    assert report["image"] == CAT
    assert report["predicted"] == report["top5"][0]
    assert report["methods"] == ["gradcam", "layercam"]
    assert report["checkpoint"] == "random weights"
    assert report["layers"] == ["backbone.layer4[1]"]
    assert set(report["seconds"]) == {"forward", "maps"}


def test_figures_are_drawn_and_saved_whole_or_not_at_all(explainer: Explainer, tmp_path: Path) -> None:
    explanation = explainer(PAIR, categories=[0])
    plain, panel = explanation.figure(kind="heatmap"), explanation.figure(kind="panel", original=True, opacity=0.7)
    assert plain.dtype == panel.dtype == np.uint8
    assert panel.shape[0] > plain.shape[0]
    saved = explanation.save(tmp_path / "new/pair.png", kind="panel")
    assert np.array_equal(cv2.imread(str(saved))[..., ::-1], explanation.figure(kind="panel"))
    for options, words in (({"kind": "pannel"}, "closest: 'panel'"), ({"opacity": 2.0}, "opacity"), ({"colormap": "jett"}, "jet")):
        with pytest.raises(OutputError, match=words):
            explanation.save(tmp_path / "bad.png", **options)
    with pytest.raises(OutputError, match=r"Cannot write an image as '\.xyz'"):
        explanation.save(tmp_path / "bad.xyz")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "pair.png"]


def test_arguments_are_those_of_a_configs_cam_and_beat_it(small_path: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text(f"_base_ = {str(small_path)!r}\ncam = dict(method='fem', target_layers=['backbone.layer3'], target='probability')\n")
    of_config = Explainer(recipe, random_weights=True)(CAT)
    assert (list(of_config.results), of_config.layers, of_config.selection.name) == (["fem"], ["backbone.layer3"], "probability")
    own = Explainer(
        recipe,
        random_weights=True,
        method={"type": "smooth", "samples": 2},
        target_layers="backbone.layer4",
        target="logit",
        aug_smooth=True,
    )(CAT)
    assert (list(own.results), own.layers, own.selection.name, own.aug_smooth) == (
        ["smooth:gradcam"],
        ["backbone.layer4"],
        "logit",
        True,
    )


def test_a_network_that_is_built_is_taken_as_it_is(small_network: Network, explainer: Explainer) -> None:
    given = Explainer(small_network, method="gradcam")
    assert given.network is small_network
    torch.testing.assert_close(given(CAT).results["gradcam"].maps, explainer(CAT).results["gradcam"].maps)


def test_every_method_that_fits_may_be_asked_for(small_path: Path) -> None:
    cheap = [name for name in every_method() if name in ("gradcam", "rollout", "cdam")]
    everything = Explainer(small_path, random_weights=True, method="all")
    everything.cam.methods = {name: method for name, method in everything.cam.methods.items() if name in cheap}
    everything.cam._layer_methods = {name: method for name, method in everything.cam._layer_methods.items() if name in cheap}
    everything.cam._input_methods.clear()
    explanation = everything(CAT)
    assert list(explanation.results) == ["gradcam"]
    assert {"rollout", "cdam"} <= set(explanation.refused)
    assert explanation.file_label == "all"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"method": "grandcam"}, MethodError, "closest: 'gradcam'"),
        ({"method": ["all", "gradcam"]}, MethodError, "give it alone"),
        ({"layout": "NHWC"}, ConfigError, "Unknown layout"),
        ({"fuse": "prodct"}, MethodError, "closest: 'product'"),
        ({"speed": {"folt": True}}, ConfigError, "closest: 'fold'"),
        ({"cfg_options": {"modle.head.num_classes": 3}}, ConfigError, "closest: 'model'"),
        ({"device": "gpu"}, CamtoolError, "expected cpu, cuda"),
    ],
)
def test_a_wrong_setting_is_refused_before_the_network_is_built(
    arguments: dict[str, Any], error: type[CamtoolError], words: str, small_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("camtool.apis.model.load_network", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(error, match=words):
        Explainer(small_path, random_weights=True, **arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"categories": [1], "top_k": 2}, "either categories .* or top_k"),
        ({"categories": ["cat"]}, "no names. Give an index"),
        ({"categories": [5]}, "out of range"),
        ({"against": 2}, "belongs to the target 'contrast'"),
        ({"target": "contrast"}, "needs against"),
        ({"target": "contrst"}, "closest: 'contrast'"),
        ({"target_image": CAT, "categories": [1]}, "either target_image .* or categories"),
    ],
)
def test_a_selection_that_cannot_be_is_said(arguments: dict[str, Any], words: str, explainer: Explainer) -> None:
    with pytest.raises(TargetError, match=words):
        explainer(ESPRESSO, **arguments)


def test_a_stream_goes_on_behind_an_image_that_cannot_be_read(explainer: Explainer, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(Path(CAT).read_bytes()[:3000])
    images = [CAT, tmp_path / "broken.jpg", ESPRESSO, tmp_path / "none.jpg"]
    results = list(explainer.stream(images, explainer.select(), batch_size=3))
    assert [type(result) for result in results] == [Explanation, ImageError, Explanation, ImageError]
    with pytest.raises(ImageError, match="truncated or damaged"):
        explainer(images)


def test_an_image_that_a_method_refuses_does_not_stop_the_others_of_its_batch(small_path: Path, noise: np.ndarray) -> None:
    own = Explainer(small_path, random_weights=True, method="gradcam")
    preprocess = own.network.preprocess
    own.network.preprocess = lambda picture: preprocess(picture) * (torch.nan if picture[0, 0, 0] == 7 else 1)
    spoilt = noise.copy()
    spoilt[0, 0, 0] = 7
    results = list(own.stream([noise, spoilt, noise], own.select()))
    assert isinstance(results[1], TargetError)
    assert torch.equal(results[0].results["gradcam"].maps, own(noise).results["gradcam"].maps)
    assert isinstance(results[2], Explanation)


@pytest.mark.filterwarnings("always::camtool.errors.CamtoolWarning")
def test_warnings_are_of_the_image_that_they_are_about(small_path: Path, noise: np.ndarray) -> None:
    own = Explainer(small_path, random_weights=True, method="gradcam")
    torch.nn.init.constant_(own.network.model.head.fc.weight, 0.01)  # type: ignore[operator, union-attr]
    with torch.no_grad():
        own.network.model.head.fc.weight[0].fill_(-1)  # type: ignore[operator, union-attr, index]
    with pytest.warns(CamtoolWarning, match="gradcam, sample 0, target 0: no positive evidence"):
        alone = own(noise, categories=[0])
    with pytest.warns(CamtoolWarning) as caught:
        several = own([noise, CAT], categories=[0])
    assert [str(warning.message).split(":")[0] for warning in caught] == ["image_0", CAT]
    assert "sample" not in str(caught[0].message)
    for explanation in (alone, *several):
        assert len(explanation.warnings) == 1
        assert explanation.status == {"gradcam": ["no positive evidence for this target at this layer"]}


def test_a_network_with_further_inputs_explains_a_list(tmp_path: Path) -> None:
    explanations = Explainer("colours")([PAIR, CAT], categories=["red"])
    assert [explanation.results["gradcam"].maps.shape[0] for explanation in explanations] == [1, 1]
    alone = Explainer("colours")(CAT, categories=["red"])
    assert torch.equal(explanations[1].results["gradcam"].maps, alone.results["gradcam"].maps)


DENSE = """
model = dict(
    type="camtool.TorchModel",
    factory="tests/apis/dense.py:{}",
    preprocess=dict(resize=(32, 40), mean=[0.5] * 3, std=[0.5] * 3),
)
cam = dict(target={}, target_layers=["features"])
"""


@pytest.mark.parametrize(
    ("factory", "target", "index"),
    [
        ("segmenter", "dict(type='Region', mask='mask.png', index=1)", 1),
        ("detector", "dict(type='BoxScore', box=[0, 0, 20, 32], label=1)", None),
        ("segmenter", "dict(type='EmbeddingSimilarity', reference=[1.0, 0.5, 0.25])", "not an embedding"),
    ],
)
def test_targets_that_say_all_by_themselves_may_stand_in_a_config(
    factory: str, target: str, index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: np.ndarray
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    mask = np.zeros((64, 80, 3), np.uint8)
    mask[:, :40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    config = tmp_path / "dense.py"
    config.write_text(DENSE.format(factory, target.replace("mask.png", str(tmp_path / "mask.png"))))
    explainer = Explainer(config, random_weights=True, method="gradcam")
    if index == "not an embedding":
        with pytest.raises(TargetError, match="reference embedding has 3 numbers"):
            explainer(noise)
        return
    explanation = explainer(noise)
    assert explanation.results["gradcam"].maps.shape == (1, 1, 32, 40)
    assert explanation.predicted is None
    assert explanation.top5 == []
    assert explanation.targets == [{"index": index, "name": explanation.answer.targets[0].words, "probability": None}]
    json.dumps(explanation.to_dict(), allow_nan=False)
    assert explanation.figure().ndim == 3
    with pytest.raises(TargetError, match="takes no categories"):
        explainer(noise, categories=[0])
    expected = CAM(explainer.network.model, "features")(
        explainer.network.preprocess(noise),
        [[explanation.selection._target]],  # type: ignore[attr-defined]
    )
    torch.testing.assert_close(explanation.results["gradcam"].maps, expected.maps)


def test_likeness_to_a_picture_may_stand_in_a_config(small_path: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text(f"_base_ = {str(small_path)!r}\ncam = dict(target=dict(type='EmbeddingSimilarity', reference={ESPRESSO!r}))\n")
    of_config = Explainer(recipe, random_weights=True)([CAT, ROCKET])
    by_argument = Explainer(small_path, random_weights=True)
    for explanation, image in zip(of_config, (CAT, ROCKET), strict=True):
        expected = by_argument(image, target_image=ESPRESSO)
        torch.testing.assert_close(explanation.results["gradcam"].maps, expected.results["gradcam"].maps, rtol=1e-4, atol=1e-5)
        assert explanation.answer.targets[0].value == pytest.approx(expected.answer.targets[0].value, abs=1e-5)
        assert explanation.to_dict()["target"]["explains"] == ["similarity to espresso.jpg"]


@pytest.mark.parametrize("category", ["281", 281, "tabby, tabby cat"])
def test_one_category_is_one_class(category: str | int, lite0: Network) -> None:
    assert [target["index"] for target in Explainer(lite0)(CAT, categories=category).targets] == [281]


def test_warnings_of_an_image_in_a_batch_are_those_it_has_alone(small_path: Path) -> None:
    explainer = Explainer(small_path, random_weights=True, method=["fem", "centercam"])
    black = np.zeros((64, 64, 3), np.uint8)
    alone = [explainer(image).warnings for image in (CAT, black, ROCKET)]
    assert alone[2]
    assert [explanation.warnings for explanation in explainer([CAT, black, ROCKET])] == alone


def test_a_warning_of_another_library_is_shown_as_it_is(explainer: Explainer) -> None:
    class OddWarning(UserWarning):
        def __init__(self, text: str, *, code: int) -> None:
            super().__init__(f"{text} {code}")

    hook = explainer.network.model.register_forward_pre_hook(lambda *_: warnings.warn(OddWarning("odd", code=3), stacklevel=1))
    with hook, pytest.warns(OddWarning, match="odd 3"):
        assert len(explainer([CAT, ROCKET])) == 2


def test_what_a_network_that_is_built_has_already_is_not_taken(small_network: Network) -> None:
    for arguments in ({"checkpoint": "x.pth"}, {"random_weights": True}, {"cfg_options": {"a": 1}}, {"checkpoint_keys": [("a", "b")]}):
        with pytest.raises(ConfigError, match="got a Network, which is built already"):
            Explainer(small_network, **arguments)


def test_numbers_below_one_are_refused(explainer: Explainer) -> None:
    with pytest.raises(CamtoolError, match="batch size of at least 1, got 0"):
        explainer([CAT], batch_size=0)
    with pytest.raises(TargetError, match="of at least 1, got 0"):
        explainer(CAT, top_k=0)


@pytest.mark.filterwarnings("always::camtool.errors.CamtoolWarning")
def test_what_was_warned_of_before_an_error_is_not_lost(small_path: Path, noise: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Explainer(small_path, random_weights=True, method="gradcam")

    def refusing(*_: Any) -> None:
        warn("the layer is called twice")
        raise MethodError("not defined here")

    selection = own.select()
    monkeypatch.setattr(selection, "explain", refusing)
    with pytest.warns(CamtoolWarning, match="called twice") as caught:
        results = list(own.stream([noise, noise], selection))
    assert [str(result) for result in results] == ["not defined here"] * 2
    assert len(caught) == 2
