"""Networks of every source through the whole command: config or short name, weights, map, figure."""

from pathlib import Path

import numpy as np
import pytest

from tests.cli.fixtures import CAT, PAIR, ROOT, Run

COLOURS = str(ROOT / "configs/torch_model/colours.py")


@pytest.fixture
def at_root(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The clone as working directory, as for the commands of the README; returns where outputs go."""
    monkeypatch.chdir(ROOT)
    return tmp_path


def test_a_network_of_ones_own_with_two_inputs_shows_the_colour_asked_for(run: Run, at_root: Path) -> None:
    arrays, picture = at_root / "raw.npz", at_root / "colours.png"
    report = run("vis", PAIR, COLOURS, "--target-category", "red", "--save-path", picture, "--save-raw", arrays, "--json").report
    assert report["layers"] == ["excess"]
    assert report["checkpoint"] == "the factory's own weights"
    with np.load(arrays) as saved:
        raw, logits = saved["raw/gradcam/excess"][0], saved["logits"]
        mean_of_excess = raw.mean() * raw.size  # gradcam weights the channel by 1 / positions
    assert mean_of_excess == pytest.approx(logits[0], rel=1e-4)
    assert picture.stat().st_size > 10_000


def test_another_input_changes_the_scores_and_not_the_map(run: Run, at_root: Path) -> None:
    maps, scores = [], []
    for prior in ("0.0", "2.0"):
        arrays = at_root / f"{prior}.npz"
        options = ("--cfg-options", f"model.inputs.prior=[[{prior},0.0,0.0]]", "--target-category", "red", "--save-raw", arrays)
        assert run("vis", PAIR, COLOURS, "--save-path", at_root / "a.png", *options).exit_code == 0
        with np.load(arrays) as saved:
            maps.append(saved["map/gradcam"])
            scores.append(saved["logits"])
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_allclose(scores[1] - scores[0], [2, 0, 0], atol=1e-5)


def test_an_input_that_the_network_refuses_is_one_line(run: Run, at_root: Path) -> None:
    finished = run("vis", PAIR, COLOURS, "--cfg-options", "model.inputs.prior=[[1.0,2.0]]", "--save-path", at_root / "a.png")
    assert finished.exit_code == 2
    assert "Raised by the network itself, called with picture (1, 3, 224, 224), prior (1, 2)." in finished.stderr
    assert "defect of camtool" not in finished.stderr
    assert not (at_root / "a.png").exists()


@pytest.mark.parametrize(
    ("config", "layer"),
    [
        ("timm/vit_tiny_patch16_224", "blocks[11].norm1"),
        ("configs/timm/vit_small_patch16_224.py", "blocks[11].norm1"),
        ("torchvision/squeezenet1_1", "features[12]"),
        ("configs/torchvision/resnet50.py", "layer4[2]"),
    ],
)
def test_a_name_or_config_of_a_library_gives_a_map(run: Run, at_root: Path, config: str, layer: str) -> None:
    report = run("vis", CAT, config, "--random-weights", "--save-path", at_root / "a.png", "--json").report
    assert report["layers"] == [layer]
    assert report["predicted"]["name"]


@pytest.mark.parametrize(
    "option", [(), ("--vit-like",), ("--num-extra-tokens", "1"), ("--target-layers", "vit.layers[-1].layernorm_before")]
)
def test_a_directory_of_hugging_face_gives_a_map(run: Run, tmp_path: Path, option: tuple[str, ...]) -> None:
    from tests.models.sources.test_huggingface_source import ViTForImageClassification, ViTImageProcessor, config

    ViTForImageClassification(config()).save_pretrained(tmp_path / "net")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "net")
    report = run("vis", CAT, f"hf/{tmp_path / 'net'}", *option, "--json").report
    assert len(report["layers"]) == 1
    assert {entry["name"] for entry in report["top5"]} == {"cat", "dog", "<b>hen</b>"}
    listed = run("layers", f"hf/{tmp_path / 'net'}").stdout
    assert "layernorm_before" in listed


@pytest.mark.parametrize(
    "config", ["timm/", "timm/nope", "torchvision/nope", "hf/", "tim/resnet18", "timm/nope.py", "configs/timm/nope.py"]
)
def test_a_name_that_no_source_has_is_one_line(run: Run, at_root: Path, config: str) -> None:
    finished = run("vis", CAT, config, "--random-weights", "--save-path", at_root / "a.png")
    assert finished.exit_code == 2
    assert finished.stderr.strip().count("\n") == 0
    assert finished.stderr.startswith("Error: ")
    assert not (at_root / "a.png").exists()
