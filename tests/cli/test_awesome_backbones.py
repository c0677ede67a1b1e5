"""The examples of Awesome-Backbones as they are typed there, in a folder laid out as theirs."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from camtool.config.loading import load_config
from camtool.models.loading import load_network
from tests.cli.fixtures import CAT, ROOT, Run
from tests.config.awesome import FAMILIES, text, trained

IMG = "datasets/test/dandelion/14283011_3e7452c5b2_n.jpg"
CONFIGS = {
    "MobileNetV3": "models/mobilenet/mobilenet_v3_small.py",
    "Swin": "models/swin_transformer/tiny_224.py",
    "ViT": "models/vision_transformer/vit_base_p16_224.py",
    "T2T-ViT": "models/t2t_vit/t2t_vit_t_14.py",
}
# Each line of the examples, and the layer and the map's size that come of it.
EXAMPLES = [
    (f"{IMG} models/mobilenet/mobilenet_v3_small.py", "backbone.layer12", (7, 7)),
    (f"{IMG} models/mobilenet/mobilenet_v3_small.py --target-category 1", "backbone.layer12", (7, 7)),
    (f"{IMG} models/mobilenet/mobilenet_v3_small.py --eigen-smooth --aug-smooth", "backbone.layer12", (7, 7)),
    (f"{IMG} models/mobilenet/mobilenet_v3_small.py --eigen_smooth --aug_smooth", "backbone.layer12", (7, 7)),
    (f"{IMG} models/swin_transformer/tiny_224.py --vit-like", "backbone.norm3", (7, 7)),
    (
        f"{IMG} models/vision_transformer/vit_base_p16_224.py --vit-like --target-layers backbone.layers[-1].ln1",
        "backbone.layers[1].ln1",
        (14, 14),
    ),
    (f"{IMG} models/t2t_vit/t2t_vit_t_14.py --vit-like --target-layers backbone.encoder[-1].ln1", "backbone.encoder[1].ln1", (14, 14)),
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture, the configs and their checkpoints where the examples name them."""
    folder = tmp_path_factory.mktemp("Awesome-Backbones")
    (folder / IMG).parent.mkdir(parents=True)
    shutil.copy(CAT, folder / IMG)
    (folder / "datas").mkdir()
    (folder / "datas/annotations.txt").write_text("daisy 0\ndandelion 1\nroses 2\nsunflowers 3\ntulips 4\n")
    for family, config in CONFIGS.items():
        path = folder / config
        path.parent.mkdir(parents=True)
        path.write_text(text(FAMILIES[family], test=f"ckpt='datas/{family}.pth'"))
        state = load_network(load_config(str(path)), random_weights=True).model.state_dict()
        torch.save(trained(state), folder / f"datas/{family}.pth")
    return folder


@pytest.mark.parametrize(("line", "layer", "grid"), EXAMPLES)
def test_an_example_runs_as_typed(
    run: Run, clone: Path, monkeypatch: pytest.MonkeyPatch, line: str, layer: str, grid: tuple[int, int]
) -> None:
    monkeypatch.chdir(clone)
    report = run("vis", *line.split(), "--json", "--save-raw", "raw.npz").report

    assert report["layers"] == [layer]
    with np.load("raw.npz") as arrays:
        assert arrays[f"raw/gradcam/{layer}"].shape == (1, *grid)
    assert report["checkpoint"].startswith("datas/")
    if "--target-category" in line:
        assert [(target["index"], target["name"]) for target in report["targets"]] == [(1, "dandelion")]


def test_the_model_is_previewed(run: Run, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone)
    finished = run("vis", IMG, CONFIGS["Swin"], "--preview-model")

    assert finished.exit_code == 0
    assert "norm3" in finished.stdout


def test_the_recipe_takes_a_checkpoint_of_their_trainer(run: Run, tmp_path: Path) -> None:
    recipe = str(ROOT / "configs/awesome_backbones/mobilenet_v3_small.py")
    state = load_network(load_config(recipe), random_weights=True).model.state_dict()
    torch.save(trained(state), tmp_path / "Val_Epoch019-Acc95.455.pth")

    report = run("vis", CAT, recipe, "--cfg-options", "data_cfg.test.ckpt=Val_Epoch019-Acc95.455.pth", "--json").report
    assert report["checkpoint"] == "Val_Epoch019-Acc95.455.pth"
    assert report["predicted"]["name"] in ("daisy", "dandelion", "roses", "sunflowers", "tulips")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "names no checkpoint"),
        (["--cfg-options", "data_cfg.test.ckpt=logs/gone.pth"], "No checkpoint 'logs/gone.pth'"),
        (
            ["--random-weights", "--cfg-options", "model_cfg.backbone.type=MobilNetV3"],
            "unknown backbone 'MobilNetV3'; closest: 'MobileNetV3'",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(run: Run, options: list[str], message: str) -> None:
    finished = run("vis", CAT, str(ROOT / "configs/awesome_backbones/mobilenet_v3_small.py"), *options)

    assert finished.exit_code == 2
    assert message in " ".join(finished.stderr.split())
