"""Networks of one, four or thirteen channels, fed from files of bands."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from camtool import Explainer
from camtool.errors import ConfigError, ImageError
from camtool.io.images import read_picture
from camtool.models.sources.preprocessing import described
from tests.cli.fixtures import CAT, Run, pixels
from tests.io.tiff_files import write_tiff

pytestmark = pytest.mark.filterwarnings("ignore:.*no positive evidence:camtool.errors.CamtoolWarning")

NETWORK = """
import torch
from torch import nn


def build(channels):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(channels, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
"""


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """Write the config of a network of this many channels, with this preprocessing; return its path."""
    (tmp_path / "net.py").write_text(NETWORK)

    def write(count: int, **preprocess: Any) -> Path:
        preprocess.setdefault("resize", (32, 32))
        model = {"type": "camtool.TorchModel", "factory": "net.py:build", "kwargs": {"channels": count}, "with_weights": True}
        (tmp_path / "c.py").write_text(f"model = {dict(model, preprocess=preprocess)!r}\n")
        return tmp_path / "c.py"

    return write


def drawn(bands: int) -> np.ndarray:
    return (np.random.default_rng(0).random((32, 32, bands)) * 4000).astype(np.uint16)


@pytest.mark.parametrize("channels", [1, 4, 13])
@pytest.mark.parametrize("kind", ["tif", "npy", "files"])
def test_the_network_gets_the_bands_of_the_file(config: Any, run: Run, tmp_path: Path, channels: int, kind: str) -> None:
    values = drawn(channels)
    chosen: list[Any] = list(range(channels))[::-1]
    image = tmp_path / f"s.{kind}"
    if kind == "tif":
        write_tiff(image, values)
    elif kind == "npy":
        np.save(image, values)
    else:
        image.mkdir()
        for band in range(channels):
            Image.fromarray(values[..., band]).save(image / f"s_b{band}.tif")
        chosen = [f"b{band}" for band in chosen]
    path = config(channels, channels=chosen, value_range=(0, 4000), mean=0.5, std=0.25)
    report = run("vis", image, path, "-o", "o.png", "--save-raw", "o.npz", "--original", "--json").report

    model = Explainer(path).network.model
    inputs = torch.from_numpy((values[..., ::-1] / 4000 - 0.5) / 0.25).permute(2, 0, 1)[None].float()
    np.testing.assert_allclose(np.load("o.npz")["logits"], model(inputs)[0].numpy(), atol=1e-5)
    assert report["image"] == str(image / "s" if kind == "files" else image)
    assert pixels("o.png").shape == (32, 32, 3)


def test_single_band_files_given_one_by_one_are_one_picture_and_are_not_overwritten(config: Any, run: Run, tmp_path: Path) -> None:
    for band in range(3):
        Image.fromarray(drawn(3)[..., band]).save(tmp_path / f"{'rgn'[band]}.tif")
    path = config(3, channels=["n.tif", "r.tif", "g.tif"], value_range=[0, 4000])
    files = [tmp_path / f"{band}.tif" for band in "rgn"]
    assert run("vis", *files, path, "-o", "o.png").exit_code == 0

    finished = run("vis", *files, path, "-o", files[1])
    assert finished.exit_code == 2
    assert "would overwrite an image that is read" in finished.stderr
    finished = run("vis", *files[:2], path)
    assert finished.exit_code == 2
    assert "has no file of the band 'n.tif'" in finished.stderr


def test_pictures_of_bands_in_folders_are_several(config: Any, run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for band in range(2):
            Image.fromarray(drawn(2)[..., band]).save(tmp_path / name / f"b{band}.png")
    finished = run("vis", "one", "two", config(2, channels=["b0", "b1"], value_range=(0, 4000)), "--json", "-o", "out")
    assert [entry["image"] for entry in json.loads(finished.stdout)] == ["one", "two"]


def test_maps_are_drawn_on_the_channels_that_are_looked_at(config: Any) -> None:
    bands = np.zeros((32, 32, 5), np.float32)
    bands[:16, :, 3] = bands[:, :16, 1] = bands[16:, 16:, 4] = 1  # red above, green on the left, blue in the corner
    explainer = Explainer(config(5, channels=[0, 1, 2, 3, 4], rgb=[3, 1, 4]))
    below = explainer(bands).canvas().below

    expected = (255 * bands[..., [3, 1, 4]]).astype(np.uint8)
    np.testing.assert_array_equal(below, expected)
    np.testing.assert_array_equal(explainer(bands).canvas(original=True).below, expected)


def test_arrays_and_tensors_of_any_number_of_bands_are_explained(config: Any) -> None:
    explainer = Explainer(config(4, channels=[3, 0, 1, 2], value_range=(0, 4000)), method=["gradcam", "guidedbackprop"])
    of_array = explainer(drawn(4))
    of_tensor = explainer(torch.from_numpy(drawn(4).astype(np.float32)).permute(2, 0, 1))

    torch.testing.assert_close(of_array.answer.logits, of_tensor.answer.logits)
    assert of_array.results["guidedbackprop"].attributions is not None
    assert of_array.results["guidedbackprop"].attributions.shape[2] == 4
    assert of_array.figure().ndim == 3
    similar = explainer(drawn(4), target_image=drawn(4)[::-1])
    assert 0 < similar.target_report()["values"][0] <= 1


def test_a_picture_read_in_bands_is_prepared_as_an_ordinary_one() -> None:
    spec = {"resize": 48, "crop": 40, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}
    picture = read_picture(Path(CAT))
    ordinary, bands = described(spec)(picture), described({**spec, "channels": [0, 1, 2]})((picture / 255).astype(np.float32))
    assert (ordinary - bands).abs().max() <= 1.01 / 255 / 0.2  # the ordinary one is rounded to whole levels, twice


def test_the_command_line_has_the_last_word_on_range_and_frame(config: Any, run: Run, tmp_path: Path) -> None:
    first, second = (Image.fromarray(drawn(2)[..., band]) for band in range(2))
    first.save(tmp_path / "x.tif", save_all=True, append_images=[second])
    path = config(1, channels=[0], value_range=(0, 60000), frame=0)
    given = run("vis", "x.tif", path, "--value-range", 0, 4000, "--frame", 1, "--save-raw", "o.npz", "--json").report["warnings"]

    assert not [warning for warning in given if "frames" in warning]
    model = Explainer(path).network.model
    inputs = torch.from_numpy(drawn(2)[..., 1] / 4000)[None, None].float()
    np.testing.assert_allclose(np.load("o.npz")["logits"], model(inputs)[0].numpy(), atol=1e-5)


def test_layers_are_previewed_without_a_picture(config: Any, run: Run) -> None:
    finished = run("layers", config(13, channels=list(range(13)), value_range=(0, 1)), "--json")
    assert json.loads(finished.stdout)["default"] == "[1]"


def test_an_rgb_picture_for_a_network_of_bands_is_refused_in_one_line(config: Any, run: Run) -> None:
    finished = run("vis", CAT, config(4, channels=[0, 1, 2, 3]))
    assert finished.exit_code == 2
    assert "has 3 bands; expected one with a band 3, counted from 0, which preprocess.channels asks for" in finished.stderr
    explainer = Explainer(config(4, channels=[0, 1, 2, 3]))
    with pytest.raises(ImageError, match="Expected a picture of 4 bands"):
        explainer.network.preprocess(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("preprocess", "said"),
    [
        ({"channels": 3}, "'preprocess.channels' must be a list of bands"),
        ({"channels": [0, "b"]}, "Expected channels as numbers of bands from 0, or names"),
        ({"channels": [-1]}, "Expected channels as numbers of bands from 0, or names"),
        ({"channels": [0], "color": "gray"}, "both color and channels"),
        ({"channels": [0, 1], "mean": [1, 2, 3]}, "one for each of 2 channels"),
        ({"channels": [0, 1], "rgb": [0, 1, 2]}, "'preprocess.rgb' must be three positions in 'channels', 0 to 1, or one"),
        ({"rgb": [0, 1, 2]}, "expected it beside 'preprocess.channels'"),
        ({"value_range": 3}, r"'preprocess.value_range' must be \(lowest, highest\)"),
        ({"value_range": (3, 1)}, "Expected value_range as the lowest and the highest"),
        ({"frame": -1}, "Expected frame as the number"),
        ({"chanels": [0]}, "closest: 'channels'"),
    ],
)
def test_settings_that_are_none_are_named(preprocess: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        described(preprocess)
