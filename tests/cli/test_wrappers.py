"""Methods around methods on the command line: names, file names, seeds."""

from pathlib import Path

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
