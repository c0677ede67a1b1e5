"""Every flag of the main job."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.fixtures import CAT, ESPRESSO, LAST, LITE0, PAIR, ROCKET, Run, pixels

FIFTH = "backbone.timm_model.blocks[5]"


@pytest.mark.parametrize(("picture", "classes"), [(CAT, {281, 282, 285}), (ESPRESSO, {967}), (ROCKET, {657, 744})])
def test_the_embedded_default_knows_what_is_on_the_demo_pictures(run: Run, picture: str, classes: set[int]) -> None:
    report = run("vis", picture, LITE0, "--json").report

    assert report["predicted"]["index"] in classes
    assert report["targets"] == [report["predicted"]]
    assert report["layers"] == [LAST]


def test_without_options_an_overlay_is_saved_and_its_path_printed(run: Run, tmp_path: Path) -> None:
    finished = run("vis", CAT, LITE0)

    assert finished.exit_code == 0
    assert "outputs/vis_cam/cat_efficientnet-lite0_in1k_gradcam.jpg" in finished.stdout.replace("\\", "/")
    assert pixels(tmp_path / "outputs/vis_cam/cat_efficientnet-lite0_in1k_gradcam.jpg").shape == (224, 224, 3)


def test_the_table_shows_five_classes_the_scale_the_target_the_layer_and_times(run: Run) -> None:
    table = run("vis", ESPRESSO, LITE0).stdout

    assert "espresso" in table
    assert "softmax" in table
    assert "target" in table
    assert f"{LAST} (the deepest layer with a gradient at its 7x7 positions)" in table
    assert "forward" in table
    assert "maps" in table
    assert len([line for line in table.splitlines() if "%" in line]) == 5


def test_json_is_exactly_one_object_with_everything_in_it(run: Run, tmp_path: Path) -> None:
    report = run("vis", CAT, LITE0, "--json", "--save-path", "x.png", "--method", "gradcam", "fem", "--top-k", "2").report

    assert {"predicted", "top5", "targets", "methods", "layers", "status", "outputs", "seconds"} <= report.keys()
    assert set(report["predicted"]) == {"index", "name", "probability"}
    assert report["methods"] == ["gradcam", "fem"]
    assert report["targets"] == report["top5"][:2]
    assert report["status"] == {"gradcam": ["ok", "ok"], "fem": ["ok", "ok"]}
    assert report["outputs"] == ["x.png"]
    assert sum(one["probability"] for one in report["top5"]) <= 1
    assert report["seconds"]["total"] >= report["seconds"]["forward"] > 0


def test_the_weights_are_told_with_the_counts_of_their_keys(run: Run) -> None:
    counted = "efficientnet-lite0-57934424.pth (296 of 296 keys loaded, 0 missing, 0 unexpected)"
    assert counted in run("vis", CAT, LITE0).stdout

    report = run("vis", CAT, LITE0, "--json").report
    assert report["weights"].items() >= {"source": report["checkpoint"], "loaded": 296, "missing": 0, "unexpected": 0}.items()
    assert len(report["weights"]["sha256"]) == 64
    assert run("vis", CAT, LITE0, "--random-weights", "--json").report["weights"] is None


@pytest.mark.parametrize(
    ("typed", "index"), [("967", 967), ("espresso", 967), ("Tiger Cat", 282), ("tabby cat", 281), ("Egyptian cat", 285)]
)
def test_a_class_is_named_by_index_name_or_synonym(run: Run, typed: str, index: int) -> None:
    assert [one["index"] for one in run("vis", PAIR, LITE0, "--json", "--target-category", typed).report["targets"]] == [index]


@pytest.mark.parametrize("typed", ["gradcam++", "GradCAMPlusPlus", "GRADCAM++", "grad-cam++", "GradCAMpp"])
def test_a_method_is_named_in_any_spelling(run: Run, typed: str) -> None:
    assert run("vis", CAT, LITE0, "--json", "--method", typed).report["methods"] == ["gradcam++"]


def test_fullcam_is_hirescam(run: Run) -> None:
    assert run("vis", CAT, LITE0, "--json", "--method", "fullcam").report["methods"] == ["hirescam"]


@pytest.mark.parametrize(
    "typed",
    [
        ["--target-layers", LAST, "backbone.timm_model.blocks[-2]"],
        ["--target-layers", LAST, "--target-layers", "backbone.timm_model.blocks.5"],
        ["--target_layers", LAST, FIFTH],
    ],
)
def test_layers_are_given_in_one_list_or_repeated_in_every_syntax(run: Run, typed: list[str]) -> None:
    assert run("vis", CAT, LITE0, "--json", *typed).report["layers"] == [LAST, FIFTH]


def test_options_may_come_first_where_two_dashes_end_the_list(run: Run) -> None:
    assert run("vis", "--json", "--target-layers", FIFTH, "--", CAT, LITE0).report["layers"] == [FIFTH]


def test_last_norm_is_the_last_normalisation_layer(run: Run) -> None:
    report = run("vis", CAT, LITE0, "--json", "--target-layers", "last-norm").report

    assert report["layers"] == [LAST]
    assert "normalisation" in report["layers_reason"]


def test_several_layers_are_fused_by_their_mean_and_shown_apart_on_request(run: Run, tmp_path: Path) -> None:
    layers = ["--target-layers", LAST, FIFTH]
    run("vis", CAT, LITE0, *layers, "--save-raw", "both.npz", "--figure", "panel", "--save-path", "both.png")
    run("vis", CAT, LITE0, *layers, "--per-layer", "--figure", "panel", "--save-path", "each.png")

    with np.load(tmp_path / "both.npz") as both:
        positive = [both[f"raw/gradcam/{layer}"][0].clip(min=0) for layer in (LAST, FIFTH)]
        scaled = [cv2.resize((raw - raw.min()) / (raw.max() - raw.min()), (224, 224)) for raw in positive]
        mean = (scaled[0] + scaled[1]) / 2
        np.testing.assert_allclose(both["map/gradcam"][0], (mean - mean.min()) / (mean.max() - mean.min()), atol=1e-5)
    assert pixels(tmp_path / "each.png").shape[0] > 2.5 * pixels(tmp_path / "both.png").shape[0]


def _arrays(run: Run, name: str, *options: str) -> dict[str, np.ndarray]:
    assert run("vis", CAT, LITE0, "--save-raw", name, *options).exit_code == 0
    with np.load(name, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays}


def test_saved_arrays_have_the_documented_names_shapes_and_types(run: Run) -> None:
    arrays = _arrays(run, "a.npz", "--method", "gradcam", "layercam", "--target-category", "282", "967")

    assert set(arrays) == {
        "map/gradcam",
        "map/layercam",
        f"raw/gradcam/{LAST}",
        f"raw/layercam/{LAST}",
        *("logits", "predicted", "targets", "target_names", "meta"),
    }
    assert arrays["map/gradcam"].shape == (2, 224, 224)
    assert arrays["map/gradcam"].dtype == np.float32
    assert arrays["map/gradcam"].min() == 0
    assert arrays["map/gradcam"].max() == pytest.approx(1)
    assert arrays[f"raw/gradcam/{LAST}"].shape == (2, 7, 7)
    assert arrays[f"raw/gradcam/{LAST}"].min() < 0
    assert arrays["logits"].shape == (1000,)
    assert arrays["predicted"] == arrays["logits"].argmax()
    assert arrays["targets"].tolist() == [282, 967]
    assert arrays["target_names"].tolist() == ["tiger cat", "espresso"]
    meta = json.loads(str(arrays["meta"]))
    assert {"image", "config", "checkpoint", "checkpoint_sha256", "layers", "methods", "status", "versions"} <= meta.keys()
    assert len(meta["checkpoint_sha256"]) == 64


@pytest.mark.parametrize("option", ["--aug-smooth", "--aug_smooth", "--eigen-smooth", "--eigen_smooth"])
def test_smoothing_changes_the_map_under_either_spelling(run: Run, option: str) -> None:
    plain = _arrays(run, "plain.npz")["map/gradcam"]
    smooth = _arrays(run, "smooth.npz", option)["map/gradcam"]

    assert np.abs(plain - smooth).max() > 0.02


def test_a_directory_gets_one_file_for_each_map(run: Run, tmp_path: Path) -> None:
    report = run("vis", CAT, LITE0, "--json", "--save-path", "maps", "--method", "gradcam", "fem", "--target-category", "282", "967").report

    names = {f"cat_{method}_{index}.jpg" for method in ("gradcam", "fem") for index in (282, 967)}
    assert {path.name for path in (tmp_path / "maps").iterdir()} == names
    assert len(report["outputs"]) == 4


def test_a_file_gets_a_grid_of_methods_by_classes(run: Run, tmp_path: Path) -> None:
    run("vis", PAIR, LITE0, "--save-path", "grid.png", "--method", "gradcam", "fem", "layercam", "--target-category", "282", "967")

    height, width, _ = pixels(tmp_path / "grid.png").shape
    assert height > 3 * 224
    assert 3 * 224 < width < 4 * 224  # input and two classes


def test_the_config_recipe_is_followed_and_the_command_line_is_stronger(run: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text(f"_base_ = {LITE0!r}\ncam = dict(method=dict(type='FEM', k=1.0), target_layers=[{FIFTH!r}], eigen_smooth=True)\n")

    followed = run("vis", CAT, recipe, "--json").report
    overridden = run("vis", CAT, recipe, "--json", "--method", "gradcam", "--target-layers", LAST).report

    assert (followed["methods"], followed["layers"]) == (["fem"], [FIFTH])
    assert (overridden["methods"], overridden["layers"]) == (["gradcam"], [LAST])


def test_random_weights_are_said_loudly_also_on_the_picture(run: Run, tmp_path: Path) -> None:
    finished = run("vis", CAT, LITE0, "--random-weights", "--save-path", "random.png")

    assert "RANDOM WEIGHTS" in finished.stderr
    assert pixels(tmp_path / "random.png").shape[0] > 224  # a strip below the overlay
    strip = pixels(tmp_path / "random.png")[224:]
    assert (strip[..., 0] > strip[..., 1] + 80).any()  # in red


def test_no_positive_evidence_is_a_warning_a_status_and_a_remark_on_the_picture(run: Run, tmp_path: Path) -> None:
    # Class 0 of a network whose head weighs every channel negatively.
    config = tmp_path / "negative.py"
    config.write_text(
        "model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18), neck=dict(type='GlobalAveragePooling'),\n"
        "    head=dict(type='LinearClsHead', num_classes=2, in_channels=512))\n"
        "test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)), dict(type='PackInputs')]\n"
        "data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)\n"
    )
    checkpoint = tmp_path / "negative.pth"
    _negative_checkpoint(config, checkpoint)

    finished = run("vis", CAT, config, checkpoint, "--target-category", "0", "--save-path", "zero.png", "--json")

    assert finished.report["status"]["gradcam"][0].startswith("no positive evidence")
    assert "no positive evidence" in finished.stderr
    assert pixels(tmp_path / "zero.png").shape[0] > 64


def _negative_checkpoint(config: Path, checkpoint: Path) -> None:
    import torch

    from camtool.config.loading import load_config
    from camtool.models import load_network

    model = load_network(load_config(str(config)), random_weights=True).model
    with torch.no_grad():
        model.head.fc.weight.fill_(-1.0)
    torch.save(model.state_dict(), checkpoint)


def test_show_without_a_display_prints_blocks(run: Run) -> None:
    finished = run("vis", CAT, LITE0, "--show")

    assert finished.stdout.count("▀") == 80 * 40
    assert "\x1b[38;2;" in finished.stdout


def test_show_leaves_json_alone(run: Run) -> None:
    finished = run("vis", CAT, LITE0, "--show", "--json")

    assert finished.report["predicted"]["index"] == 282
    assert "▀" in finished.stderr


def test_the_seed_is_that_of_random_methods_too(run: Run) -> None:
    first, again, other = (_arrays(run, "a.npz", "--method", "randomcam", "--seed", seed)["map/randomcam"] for seed in ("1", "1", "2"))

    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_a_tilde_is_the_home_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert run("vis", CAT, LITE0, "--save-path=~/map.png", "--save-raw=~/map.npz").exit_code == 0

    assert {path.name for path in (tmp_path / "home").iterdir()} == {"map.png", "map.npz"}
