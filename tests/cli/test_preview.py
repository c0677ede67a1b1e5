"""`--preview-model` and its sub-command `layers`."""

from pathlib import Path

import pytest

from tests.cli.fixtures import CAT, LAST, LITE0, Run


def test_the_tree_shows_path_class_shape_parameters_and_use(run: Run) -> None:
    printed = run("vis", CAT, LITE0, "--preview-model").stdout

    line = next(line for line in printed.splitlines() if line.split()[:1] == [LAST])
    assert line.split() == [LAST, "BatchNormAct2d", "1x1280x7x7", "NCHW", "only", "reading", "2,560", "yes", "(default)"]
    assert "no: no spatial extent" in printed
    assert "no: not called" in printed
    assert "backbone.timm_model.blocks[6][0].conv_pwl" in printed


def test_no_map_is_made(run: Run, tmp_path: Path) -> None:
    run("vis", CAT, LITE0, "--preview-model")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("vis", LITE0, "--preview-model"), ("vis", "--preview-model", LITE0), ("layers", LITE0)])
def test_the_picture_may_be_left_out(run: Run, arguments: tuple[str, ...]) -> None:
    report = run(*arguments, "--json").report

    assert report["default"] == LAST


def test_depth_and_filter_choose_what_is_shown(run: Run) -> None:
    shallow = run("layers", LITE0, "--depth", "2", "--json").report["layers"]
    filtered = run("layers", LITE0, "--filter", "CONV_head", "--json").report["layers"]

    assert [one["path"] for one in shallow] == [
        *("data_preprocessor", "backbone", "backbone.timm_model"),
        *("neck", "neck.gap", "head", "head.loss_module", "head.fc"),
    ]
    assert [one["path"] for one in filtered] == ["backbone.timm_model.conv_head"]


def test_axes_and_extra_tokens_are_those_that_the_layout_sees(run: Run) -> None:
    arguments = ["layers", "deit-tiny-distilled_3rdparty_in1k", "--random-weights", "--filter", "layers[11].ln1"]
    (layer,) = run(*arguments, "--json").report["layers"]

    assert (layer["axes"], layer["extra_tokens"], layer["default"]) == ("NLC", 2, True)
    assert "NLC + 2" in run(*arguments).stdout


def test_every_path_shown_as_usable_is_a_target_layer(run: Run) -> None:
    layers = run("layers", LITE0, "--filter", "conv_pwl", "--json").report["layers"]
    usable = [one["path"] for one in layers if one["usable"]]

    assert len(usable) == 15
    assert run("vis", CAT, LITE0, "--json", "--target-layers", *usable).report["layers"] == usable


def test_a_network_without_gradients_says_why_there_is_no_default(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "zero.py"
    config.write_text(f"_base_ = {LITE0!r}\n")
    checkpoint = tmp_path / "zero.pth"
    _zero_head(checkpoint)

    finished = run("layers", config, checkpoint, "--depth", "1")

    assert finished.exit_code == 0
    assert "No default target layer" in finished.stdout
    assert "no: no gradient" in finished.stdout


def _zero_head(checkpoint: Path) -> None:
    import torch

    from camtool.config.loading import load_config
    from camtool.models import load_network

    model = load_network(load_config(LITE0)).model
    with torch.no_grad():
        model.head.fc.weight.zero_()
    torch.save(model.state_dict(), checkpoint)


def test_methods_lists_the_registry(run: Run) -> None:
    from camtool.methods import method_names

    assert sorted(one["name"] for one in run("methods", "--json").report["methods"]) == method_names()
    assert "arXiv:1610.02391" in run("methods").stdout
