"""Transformers of the zoo by name: the layout is found, with and without `--vit-like`."""

import shlex
from pathlib import Path

import numpy as np
import pytest

from tests.cli.fixtures import CAT, ROOT, Run

_ZOO = {
    "deit-tiny_4xb256_in1k": ("backbone.layers[11].ln1", (14, 14)),
    "deit-tiny-distilled_3rdparty_in1k": ("backbone.layers[11].ln1", (14, 14)),
    "swin-tiny_16xb64_in1k": ("backbone.norm3", (7, 7)),
    "t2t-vit-t-14_8xb64_in1k": ("backbone.encoder[13].ln1", (14, 14)),
}


@pytest.mark.parametrize("name", _ZOO)
def test_the_default_layer_is_the_last_that_has_gradient_at_the_patches(run: Run, name: str) -> None:
    layer, grid = _ZOO[name]

    report = run("vis", CAT, name, "--random-weights", "--json", "--save-raw", "a.npz").report

    assert report["layers"] == [layer]
    with np.load("a.npz") as arrays:
        assert arrays[f"raw/gradcam/{layer}"].shape == (1, *grid)


@pytest.mark.parametrize("name", _ZOO)
def test_vit_like_gives_the_same_map(run: Run, name: str) -> None:
    layer, _ = _ZOO[name]
    negative = layer.replace("[11]", "[-1]").replace("[13]", "[-1]")
    maps = []
    for options in (["--target-layers", layer], ["--vit-like", "--target-layers", negative]):
        assert run("vis", CAT, name, "--random-weights", "--save-raw", "a.npz", *options).exit_code == 0
        with np.load("a.npz") as arrays:
            maps.append(arrays["map/gradcam"])

    np.testing.assert_array_equal(*maps)


def test_the_number_of_extra_tokens_is_believed_when_given_and_0_is_a_number(run: Run) -> None:
    vit = [CAT, "deit-tiny-distilled_3rdparty_in1k", "--random-weights", "--target-layers", "backbone.layers[-1].ln1", "--num-extra-tokens"]
    right, wrong, none = (run("vis", *vit, count) for count in ("2", "1", "0"))

    assert right.exit_code == 0
    for finished in (wrong, none):
        assert finished.exit_code == 2
        assert "198" in finished.stderr
        assert "make a grid" in finished.stderr
    swin = [CAT, "swin-tiny_16xb64_in1k", "--random-weights", "--target-layers", "backbone.norm3", "--num-extra-tokens"]
    assert run("vis", *swin, "0").exit_code == 0


def test_a_layer_behind_the_last_attention_of_a_class_token_is_refused(run: Run) -> None:
    finished = run("vis", CAT, "deit-tiny_4xb256_in1k", "--random-weights", "--target-layers", "backbone.layers[-1].ln2")

    assert finished.exit_code == 2
    assert "gradient of exactly zero" in finished.stderr
    assert "first norm of the last block" in finished.stderr


@pytest.mark.parametrize(
    ("command", "layer", "grid"),
    [
        ("swin_transformer/swin-tiny_16xb64_in1k.py --vit-like", "backbone.norm3", (7, 7)),
        (
            "vision_transformer/vit-base-p16_32xb128-mae_in1k.py --vit-like --target-layers 'backbone.layers[-1].ln1'",
            "backbone.layers[11].ln1",
            (14, 14),
        ),
        ("t2t_vit/t2t-vit-t-14_8xb64_in1k.py --vit-like --target-layers 'backbone.encoder[-1].ln1'", "backbone.encoder[13].ln1", (14, 14)),
    ],
)
def test_mmpretrains_own_examples_run_as_they_are_typed(run: Run, command: str, layer: str, grid: tuple[int, int]) -> None:
    config, *options = shlex.split(command)

    report = run("vis", CAT, ROOT / "configs" / config, *options, "--random-weights", "--save-raw", "a.npz", "--json").report

    assert report["layers"] == [layer]
    assert [Path(path).exists() for path in report["outputs"]] == [True] * len(report["outputs"])
    with np.load("a.npz") as arrays:
        raw = arrays[f"raw/gradcam/{layer}"]
    assert raw.shape == (1, *grid)
    assert raw.std() > 1e-4 * np.abs(raw).max()
