"""Methods around methods on the command line: names, file names, seeds."""

from pathlib import Path

import numpy as np

from tests.cli.fixtures import CAT, LITE0, Run


def test_a_method_around_another_has_both_names_and_a_file_name_that_every_system_takes(run: Run, tmp_path: Path) -> None:
    report = run("vis", CAT, LITE0, "--method", "Smooth:gradcam++", "--save-path", "maps/", "--json").report

    assert report["methods"] == ["smooth:gradcam++"]
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["cat_smooth-gradcam++_282.jpg"]


def test_the_seed_reaches_the_noise_of_the_outer_method(run: Run) -> None:
    from camtool.apis.settings import _with_seed
    from camtool.methods import spec_of

    inside = {"type": "smooth", "method": {"type": "randomcam", "seed": 7}, "seed": 7}
    assert _with_seed(spec_of("integrated:smooth"), 7) == {"type": "integrated", "method": {"type": "smooth", "seed": 7}}
    assert _with_seed(spec_of("smooth:randomcam"), 7) == inside


def test_a_methods_settings_stand_behind_its_name(run: Run, tmp_path: Path) -> None:
    patch = "occlusion(patch=112,stride=112,baseline=gaussian)"
    run("vis", CAT, LITE0, "--method", patch, "--target-category", "282", "-o", "by_name.jpg", "--save-raw", "by_name.npz")
    options = ("cam.method.type=occlusion", "cam.method.patch=112", "cam.method.stride=112", "cam.method.baseline=gaussian")
    run("vis", CAT, LITE0, "--cfg-options", *options, "--target-category", "282", "-o", "by_key.jpg", "--save-raw", "by_key.npz")

    with np.load(tmp_path / "by_name.npz") as by_name, np.load(tmp_path / "by_key.npz") as by_key:
        key = next(name for name in by_name.files if name.startswith("raw"))
        assert by_name[key].shape[-2:] == (224, 224)
        assert len(np.unique(by_name[key].round(5))) == 4  # a value for each of the four patches
        np.testing.assert_array_equal(by_name[key], by_key[key])

    refused = run("vis", CAT, LITE0, "--method", "occlusion(patch=500)")
    assert refused.exit_code == 2
    assert "expected a patch from 1 to (224, 224) for an input of (224, 224), got (500, 500)" in refused.stderr


def test_two_settings_of_one_method_are_two_files_and_are_told_apart_everywhere(run: Run, tmp_path: Path) -> None:
    methods = ("fem(k=1.0)", "fem(k=0.5)", "smooth(samples=2):gradcam")
    report = run("vis", CAT, LITE0, "--method", *methods, "-o", "maps/", "--save-raw", "maps.npz", "--json").report

    assert report["methods"] == ["fem(k=1.0)", "fem(k=0.5)", "smooth:gradcam"]
    assert report["settings"] == {"fem(k=1.0)": {"k": 1.0}, "fem(k=0.5)": {"k": 0.5}, "smooth:gradcam": {"samples": 2}}
    names = ["cat_fem-k-0.5_282.jpg", "cat_fem-k-1.0_282.jpg", "cat_smooth-samples-2--gradcam_282.jpg"]
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == names
    with np.load(tmp_path / "maps.npz") as arrays:
        assert {"map/fem(k=1.0)", "map/fem(k=0.5)", "map/smooth:gradcam"} <= set(arrays.files)

    run("vis", CAT, LITE0, "--method", "fem(k=1.0)")
    run("vis", CAT, LITE0, "--method", "fem(k=0.5)")
    network = LITE0.rpartition("/")[2].removesuffix(".py")
    assert sorted(path.name for path in (tmp_path / "outputs/vis_cam").iterdir()) == [
        f"cat_{network}_fem-k-0.5.jpg",
        f"cat_{network}_fem-k-1.0.jpg",
    ]


def test_a_seed_of_a_methods_own_is_kept(run: Run) -> None:
    from camtool.apis.settings import _seeded

    assert _seeded("smooth(seed=3):randomcam", 7) == {"type": "smooth", "seed": 3, "method": {"type": "randomcam", "seed": 7}}
    assert _seeded("smooth(method=randomcam)", 7) == {"type": "smooth", "seed": 7, "method": {"type": "randomcam", "seed": 7}}


def test_a_misspelt_inner_method_is_found_before_anything_is_built(run: Run) -> None:
    finished = run("vis", CAT, LITE0, "--method", "smooth:layrcam")

    assert finished.exit_code == 2
    assert "Unknown method 'layrcam'; closest: 'layercam'" in finished.stderr.replace("\n", " ")


def test_layers_are_fused_as_asked(run: Run) -> None:
    layers = ("--target-layers", "backbone.timm_model.blocks[-1]", "backbone.timm_model.bn2")
    table = run("vis", CAT, LITE0, *layers, "--fuse", "product", "--method", "gradcam", "winsorcam").stdout
    assert "saved" in table or "outputs" in table

    finished = run("vis", CAT, LITE0, *layers, "--fuse", "prodct")
    assert finished.exit_code == 2
    assert "closest: 'product'" in finished.stderr
