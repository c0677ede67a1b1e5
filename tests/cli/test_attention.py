"""Attention methods from the command line: maps, captions and reports that say where they come from, one readable error."""

from pathlib import Path

import numpy as np
import pytest

from tests.cli.fixtures import CAT, LITE0, Run, pixels

DEIT = "deit-tiny_4xb256_in1k"
NORM = "backbone.layers[11].ln1"


def test_attention_methods_need_no_layer_and_say_where_their_maps_come_from(run: Run) -> None:
    options = ["--random-weights", "--method", "rollout", "genericattention", "legrad", "gradrollout", "agcam"]
    report = run("vis", CAT, DEIT, "--save-raw", "a.npz", "--json", "--top-k", "2", "--figure", "panel", *options).report

    assert report["layers"] == []
    assert report["layers_reason"] == "no method reads a target layer"
    assert report["sources"] == dict.fromkeys(options[2:], "from the attention of 12 layers")
    with np.load("a.npz") as arrays:
        for name in options[2:]:
            assert arrays[f"raw/{name}/attention"].shape == (2, 14, 14)
            assert arrays[f"map/{name}"].shape == (2, 224, 224)
        np.testing.assert_array_equal(*arrays["map/rollout"])
        assert not np.array_equal(*arrays["map/legrad"])
    assert pixels(report["outputs"][0]).ndim == 3


def test_the_table_says_it_too(run: Run) -> None:
    finished = run("vis", CAT, DEIT, "--random-weights", "--method", "gradcam", "rollout", "--target-layers", NORM, "--per-layer")

    assert finished.exit_code == 0, finished.stderr
    assert f"Layer: {NORM} (as given)" in finished.stdout
    assert "rollout: from the attention of 12 layers" in finished.stdout
    assert "the map of rollout is the same for every class" in finished.stdout


def test_attention_methods_beside_others_leave_the_target_layers_to_them(run: Run) -> None:
    several = ["--target-layers", "backbone.layers[-2].ln1", NORM, "--per-layer", "--save-path", "maps/"]
    report = run("vis", CAT, DEIT, "--random-weights", "--json", "--method", "gradcam", "rollout", *several).report

    assert report["layers"] == ["backbone.layers[10].ln1", NORM]
    assert report["sources"]["gradcam"] == f"at the mean of backbone.layers[10].ln1, {NORM}"
    names = sorted(Path(path).name for path in report["outputs"])
    assert len(names) == 4  # gradcam fused and by layer, rollout once
    assert sum("rollout" in name for name in names) == 1


@pytest.mark.parametrize("method", ["rollout", "gradrollout", "genericattention", "legrad", "agcam"])
def test_window_attention_is_one_readable_error_and_no_picture(run: Run, method: str) -> None:
    finished = run("vis", CAT, "swin-tiny_16xb64_in1k", "--random-weights", "--method", method)

    assert finished.exit_code == 2
    assert finished.stderr.count("Error:") == 1
    assert f"'{method}'. Layer 'backbone.stages[0].blocks[0].attn.w_msa' has attention of shape (64, 3, 49, 49)" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not Path("outputs").exists()


def test_a_convolutional_network_is_one_readable_error(run: Run) -> None:
    for method, said in (("rollout", "No attention was recorded"), ("cdam", "is defined for tokens")):
        finished = run("vis", CAT, LITE0, "--method", method)
        assert finished.exit_code == 2
        assert said in finished.stderr


def test_target_layers_and_eigen_smooth_of_the_command_line_are_refused_with_attention_methods_alone(run: Run) -> None:
    for options in (["--target-layers", NORM], ["--eigen-smooth"]):
        finished = run("vis", CAT, DEIT, "--random-weights", "--method", "rollout", *options)
        assert finished.exit_code == 2
        assert "'gradcam'" in finished.stderr


def test_a_recipes_target_layers_and_eigen_smooth_do_not_concern_attention_methods(run: Run) -> None:
    recipe = f"_base_ = 'mmpretrain::deit/{DEIT}.py'\ncam = dict(target_layers=['{NORM}'], eigen_smooth=True)\n"
    Path("recipe.py").write_text(recipe, encoding="utf-8")
    report = run("vis", CAT, "recipe.py", "--random-weights", "--json", "--method", "rollout", "--aug-smooth").report

    assert report["layers"] == []
    assert report["status"]["rollout"] == ["ok"]


def test_a_number_of_extra_tokens_that_makes_no_grid_is_refused(run: Run) -> None:
    finished = run("vis", CAT, DEIT, "--random-weights", "--method", "rollout", "--num-extra-tokens", "3")

    assert finished.exit_code == 2
    assert "197 tokens" in finished.stderr
    assert "after 3 extra tokens make no grid" in finished.stderr


def test_the_methods_are_listed(run: Run) -> None:
    listed = {one["name"]: one for one in run("methods", "--json").report["methods"]}

    for name in ("rollout", "gradrollout", "genericattention", "legrad", "agcam", "cdam"):
        assert listed[name]["paper"].startswith("arXiv:")
    assert listed["rollout"]["class_discriminative"] is False
    assert listed["legrad"]["class_discriminative"] is True
