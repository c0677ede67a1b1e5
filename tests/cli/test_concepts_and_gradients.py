"""`--method dff`, `guided-gradcam` and `fullgrad` on the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from camtool.functional import over_maximum, resize
from tests.cli.fixtures import CAT, LAST, LITE0, PAIR, Run, pixels


def test_concepts_are_drawn_with_a_legend_and_reported_with_their_classes(run: Run, tmp_path: Path) -> None:
    report = run("vis", PAIR, LITE0, "--method", "dff", "--n-components", "3", "--save-raw", "x.npz", "--json").report
    assert report["methods"] == ["dff"]
    assert report["layers"] == [LAST]
    assert [len(one["classes"]) for one in report["concepts"]] == [2, 2, 2]
    names = {one["classes"][0]["index"] for one in report["concepts"]}
    assert names & {281, 282, 285}  # the cat and the espresso are different concepts
    assert names & {967, 504}
    assert report["outputs"][0].replace("\\", "/") == "outputs/vis_cam/cat_and_espresso_efficientnet-lite0_in1k_dff.jpg"
    assert pixels(tmp_path / report["outputs"][0]).shape[1] > 3 * 224
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays["map/dff"].shape == (3, 224, 224)
        assert arrays["vectors"].shape == (3, 1280)
        assert arrays["scores"].shape == (3, 1000)


def test_concepts_without_scores_say_why(run: Run) -> None:
    finished = run(
        "vis", PAIR, LITE0, "--method", "DFF", "--n-components", "2", "--target-layers", "backbone.timm_model.blocks[5]", "--original"
    )
    assert finished.exit_code == 0, finished.stderr
    assert "No class scores: concepts have class scores if" in finished.stdout
    assert "concept 2" in finished.stdout
    assert "(as given)" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "dff", "gradcam"], "give it alone"),
        (["--method", "dff", "--top-k", "2"], "leave out --top-k"),
        (["--method", "dff", "--target-layers", "a", "b"], "leave out all --target-layers but one"),
        (["--method", "gradcam", "--n-components", "2"], "--n-components belongs to --method dff"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(run: Run, arguments: list[str], message: str) -> None:
    finished = run("vis", PAIR, LITE0, *arguments)
    assert finished.exit_code == 2
    assert message in " ".join(finished.stderr.split())


def test_guided_gradcam_is_drawn_beside_what_it_is_the_product_of(run: Run, tmp_path: Path) -> None:
    report = run("vis", CAT, LITE0, "--method", "guided-gradcam", "--save-path", "x.png", "--save-raw", "x.npz", "--json").report
    assert report["methods"] == ["gradcam", "guidedbackprop", "guidedgradcam"]
    drawn = pixels(tmp_path / "x.png")
    assert drawn.shape[1] == 4 * 224 + 5 * 8
    product = drawn[8:232, 3 * 232 + 8 : 4 * 232]
    assert np.median(product) == pytest.approx(127, abs=3)  # grey where nothing is said
    assert product.std() > 5
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays["attributions/guidedgradcam"].shape == (1, 3, 224, 224)
        (raw,) = (torch.from_numpy(arrays[key]).clamp(min=0) for key in arrays if key.startswith("raw/gradcam"))
        expected = arrays["attributions/guidedbackprop"] * over_maximum(resize(raw, (224, 224))).numpy()[:, None]
        np.testing.assert_allclose(arrays["attributions/guidedgradcam"], expected, rtol=1e-4, atol=1e-9)


def test_guided_backprop_and_fullgrad_need_no_target_layer(run: Run) -> None:
    report = run("vis", CAT, LITE0, "--method", "guided-backprop", "fullgrad", "--original", "--json").report
    assert report["layers"] == []
    assert report["sources"] == {"guidedbackprop": "at the input", "fullgrad": "at the input"}
