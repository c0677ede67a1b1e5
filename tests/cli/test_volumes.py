"""`camtool vis` and `camtool run` on volumes."""

import json
import math
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

import camtool.store
from camtool import Explainer
from camtool.io.volumes import Geometry, Volume, VolumeReading, encode_volume, read_volume
from tests.cli.fixtures import Run, pixels
from tests.volumes import random_geometry

NETWORK = """
import torch
from torch import nn


class Bright(nn.Module):
    # The scores are the mean brightness and its half; the map is the brightness, in cells of two voxels.
    def __init__(self, kernel=(3, 3, 3)):
        super().__init__()
        self.conv = nn.Conv3d(1, 2, kernel, stride=2, padding=1)
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.conv.weight.fill_(1 / 27)
            self.conv.bias.zero_()
            self.head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.5]]))
            self.head.bias.zero_()

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean((2, 3, 4)))
"""
SHAPE, BALL = (20, 24, 16), (13, 7, 10)


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """Write the config of the network with this preprocessing, and other keys; return its path."""
    (tmp_path / "bright.py").write_text(NETWORK)

    def write(preprocess: dict[str, Any] | None = None, **others: Any) -> Path:
        model = {"type": "camtool.TorchModel", "factory": "bright.py:Bright", "with_weights": True, "preprocess": preprocess or {}}
        (tmp_path / "c.py").write_text("".join(f"{key} = {value!r}\n" for key, value in {"model": model, **others}.items()))
        return tmp_path / "c.py"

    return write


def scan(geometry: Geometry | None) -> Volume:
    """Return a dim block with a bright ball."""
    places = np.stack(np.indices(SHAPE), axis=-1)
    values = 0.1 + (np.linalg.norm(places - BALL, axis=-1) < 3.2)
    return Volume(values.astype(np.float32), geometry, "scan")


def write_scan(path: Path, geometry: Geometry | None = None) -> Path:
    kind = next(kind for kind in (".nii.gz", ".nii", ".mha", ".nrrd") if path.name.endswith(kind))
    path.write_bytes(encode_volume(scan(geometry).values, scan(geometry), kind))
    return path


@pytest.mark.parametrize("kind", [".nii.gz", ".nii", ".mha", ".nrrd"])
@pytest.mark.parametrize("preprocess", [{}, {"orientation": "RAS", "axes": "zyx"}, {"orientation": "LPS", "size": (24, 20, 18)}])
def test_the_map_lies_on_the_scan(config: Any, run: Run, tmp_path: Path, kind: str, preprocess: dict[str, Any]) -> None:
    geometry = random_geometry(np.random.default_rng(len(kind) + len(preprocess)))
    image = write_scan(tmp_path / f"scan{kind}", geometry)

    finished = run("vis", image, config(preprocess), "--save-path", f"map{kind}")

    assert finished.exit_code == 0, finished.stderr
    found = read_volume(tmp_path / f"map{kind}")
    assert found.geometry is not None
    assert found.shape == SHAPE
    assert geometry.distance(found.geometry, SHAPE) < 1e-3
    centre = np.stack(np.nonzero(found.values > 0.5), axis=-1).mean(axis=0)
    assert np.abs(centre - BALL).max() < 1


def test_a_folder_has_a_volume_and_slices_of_each_map(config: Any, run: Run, tmp_path: Path) -> None:
    image = write_scan(tmp_path / "head.nii.gz", Geometry.of_spacing((1, 1, 2)))

    finished = run("vis", image, config(), "--save-path", "maps/", "--target-category", 0, 1, "--save-raw", "raw.npz")

    assert finished.exit_code == 0, finished.stderr
    names = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert names == ["head_gradcam_0.jpg", "head_gradcam_0.nii.gz", "head_gradcam_1.jpg", "head_gradcam_1.nii.gz"]
    assert pixels(tmp_path / "maps/head_gradcam_0.jpg").shape[1] > 3 * 130
    arrays = np.load(tmp_path / "raw.npz")
    np.testing.assert_array_equal(arrays["affine"], np.diag([1.0, 1, 2, 1]))
    assert arrays["map/gradcam"].shape == (2, *SHAPE)


def test_pictures_and_films(config: Any, run: Run, tmp_path: Path) -> None:
    image, recipe = write_scan(tmp_path / "scan.mha", Geometry.of_spacing((1, 1, 2))), config()

    for arguments in (["-o", "three.png"], ["-o", "strip.png", "--slices", 5], ["-o", "turning.gif"]):
        assert run("vis", image, recipe, *arguments).exit_code == 0

    assert pixels(tmp_path / "strip.png").shape != pixels(tmp_path / "three.png").shape
    with Image.open(tmp_path / "turning.gif") as film:
        assert film.n_frames > 10


def test_a_signed_map_is_a_volume_of_signed_values(config: Any, run: Run, tmp_path: Path) -> None:
    image, recipe = (
        write_scan(tmp_path / "scan.nii.gz"),
        config({"window": (0.5, 1.0), "pad": 30, "crop": (14, 24, 16)}, cam={"method": "gradcam"}),
    )
    minus = (tmp_path / "bright.py").read_text().replace("[1.0, 0.0]", "[-1.0, 0.0]")
    (tmp_path / "bright.py").write_text(minus)

    assert run("vis", image, recipe, "--signed", "-o", "map.nii.gz", "--target-category", 0).exit_code == 0
    assert run("vis", image, recipe, "--signed", "-o", "maps/", "--target-category", 0).exit_code == 0

    for name in ("map.nii.gz", "maps/scan_gradcam_0.nii.gz"):
        found = read_volume(tmp_path / name, VolumeReading(nan_as=math.nan)).values
        assert np.isnan(found[:3]).all()  # the network did not see it
        assert abs(found[BALL] + 1) < 1e-6  # all that is bright speaks against the class
        assert abs(found[5, 20, 2]) < 1e-6  # and what is dark for none


def test_one_file_holds_one_map(config: Any, run: Run, tmp_path: Path) -> None:
    image = write_scan(tmp_path / "scan.nii.gz")

    finished = run("vis", image, config(), "--save-path", "map.nii.gz", "--method", "gradcam", "layercam")

    assert finished.exit_code == 2
    assert "A file '.nii.gz' holds one map, got 2; give a folder" in finished.stderr
    assert not (tmp_path / "map.nii.gz").exists()


def test_a_product_is_one_map_though_its_factors_are_shown_beside_it(config: Any, run: Run, tmp_path: Path) -> None:
    image, product = write_scan(tmp_path / "scan.nii.gz"), ("--method", "guidedgradcam")

    for where in ("map.nii.gz", "map.gif", "maps/"):
        assert run("vis", image, config(), "--save-path", where, *product).exit_code == 0
    both = run("vis", image, config(), "--save-path", "both.nii.gz", *product, "gradcam")

    alone, one_of_three = (read_volume(tmp_path / name, VolumeReading()) for name in ("map.nii.gz", "maps/scan_guidedgradcam_0.nii.gz"))
    np.testing.assert_array_equal(alone.values, one_of_three.values)
    assert (tmp_path / "maps/scan_gradcam_0.nii.gz").exists()
    assert both.exit_code == 2
    assert "A file '.nii.gz' holds one map, got 2" in both.stderr


def test_arrays_and_their_spacing(config: Any, run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", scan(None).values)

    finished = run("vis", "scan.npy", config(), "--spacing", 1, 1, 2.5, "-o", "map.nii.gz")

    assert finished.exit_code == 0, finished.stderr
    geometry = read_volume(tmp_path / "map.nii.gz").geometry
    assert geometry is not None
    assert geometry.spacing == (1, 1, 2.5)


def test_windows(config: Any, run: Run, tmp_path: Path) -> None:
    image, recipe = write_scan(tmp_path / "scan.nii.gz", Geometry.of_spacing((1, 1, 1))), config(cam={"window": 12, "overlap": 0.25})

    by_config = run("vis", image, recipe, "-o", "a.nii.gz", "--json").report
    by_options = run("vis", image, recipe, "-o", "b.nii.gz", "--window", 10, 12, 8, "--overlap", 0.5, "--json").report

    assert "windows of 12x12x12" in by_config["sources"]["gradcam"]
    assert "windows of 10x12x8" in by_options["sources"]["gradcam"]
    values = read_volume(tmp_path / "b.nii.gz").values
    assert np.abs(np.stack(np.nonzero(values > 0.5), axis=-1).mean(axis=0) - BALL).max() < 1.5


def test_an_overlap_of_no_windows_is_told(config: Any, run: Run, tmp_path: Path) -> None:
    finished = run("vis", write_scan(tmp_path / "scan.nii"), config(), "-o", "a.nii", "--overlap", 0.25)

    assert finished.exit_code == 0
    assert "--overlap has no effect without --window" in finished.stderr


def test_a_folder_of_volumes_is_run(config: Any, run: Run, tmp_path: Path) -> None:
    for label in ("first", "second"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(2):
            write_scan(tmp_path / "data" / label / f"{number}.nii.gz", Geometry.of_spacing((1, 1, 2)))

    finished = run("run", config(), "--data", "data", "--out", "store", "--target-category", "label")

    assert finished.exit_code == 0, finished.stderr
    rows = list(camtool.store.open(tmp_path / "store"))
    assert [row["path"] for row in rows] == ["first/0.nii.gz", "first/1.nii.gz", "second/0.nii.gz", "second/1.nii.gz"]
    assert [row["label"] for row in rows] == [0, 0, 1, 1]
    assert all(row["status"] == "ok" and row.resized(SHAPE).shape == SHAPE for row in rows)


def test_a_volume_in_two_files_is_one_sample(config: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    nibabel.save(nibabel.Nifti1Pair(scan(None).values, np.diag([1.0, 1, 2, 1])), tmp_path / "data/pair.img")
    recipe = config()

    finished = run("run", recipe, "--data", "data", "--out", "store")

    assert finished.exit_code == 0, finished.stderr
    assert [row["path"] for row in camtool.store.open(tmp_path / "store")] == ["pair.hdr"]
    for given in ("data", "data/*"):
        reports = json.loads(run("vis", given, recipe, "-o", "maps/", "--json").stdout)
        assert [one["image"] for one in reports] == ["data/pair.hdr"]
    for given in ("data/pair.img", "data/*.img"):
        assert run("vis", given, recipe, "-o", "maps/").exit_code == 0


def test_the_library_takes_paths_volumes_and_arrays(config: Any, tmp_path: Path) -> None:
    path, explainer = write_scan(tmp_path / "scan.nrrd", Geometry.of_spacing((1, 2, 1))), Explainer(config())

    of_path, of_volume, of_array = explainer([path, scan(None), scan(None).values])

    assert of_path.image.stem == "scan"
    assert of_array.image.name == "volume_2"
    for explanation in (of_volume, of_array):
        np.testing.assert_array_equal(explanation.results["gradcam"].maps, of_path.results["gradcam"].maps)
    assert of_path.save(tmp_path / "map.nii").exists()


def test_the_layers_of_a_network_on_volumes(config: Any, run: Run, tmp_path: Path) -> None:
    image = write_scan(tmp_path / "scan.nii.gz")

    assert "NCDHW" in run("layers", config()).stdout
    assert "input 1x1x20x24x16" in run("vis", image, config(), "--preview-model").stdout


def _four_dimensional(folder: Path) -> Path:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6, 3), np.float32), np.eye(4)), folder / "four.nii.gz")
    return folder / "four.nii.gz"


def _picture(folder: Path) -> Path:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "cat.png")
    return folder / "cat.png"


WRONG: dict[str, tuple[Any, list[Any], str]] = {
    "no such file": (lambda folder: folder / "none.nii.gz", [], "No volume"),
    "four axes": (_four_dimensional, [], "volume"),
    "an option of signals": (
        lambda folder: write_scan(folder / "a.nii"),
        ["--sampling-rate", 5],
        "an option of signals",
    ),
    "an option of images": (lambda folder: write_scan(folder / "a.nii"), ["--frame", 5], "an option of images"),
    "a film of another kind": (lambda folder: write_scan(folder / "a.nii"), ["-o", "a.avi"], "Cannot write an image as '.avi'"),
    "a header of MetaImage": (lambda folder: write_scan(folder / "a.nii"), ["-o", "a.mhd"], "try '.mha', header and numbers in one file"),
    "a header of NRRD": (lambda folder: write_scan(folder / "a.nii"), ["-o", "a.NHDR"], "try '.nrrd', header and numbers in one file"),
    "half of a NIfTI pair": (lambda folder: write_scan(folder / "a.nii"), ["-o", "b.img"], "try '.nii.gz', header and numbers in one file"),
    "a header for several scans": (
        lambda folder: (write_scan(folder / "a.nii"), write_scan(folder / "b.nii"), folder / "*.nii")[-1],
        ["-o", "b.mhd"],
        "Several images are saved in a folder, got the file name 'b.mhd'",
    ),
    "a window of two sizes": (lambda folder: write_scan(folder / "a.nii"), ["--window", 4, 4], "Expected a window of 3 sizes"),
    "an overlap of 1": (lambda folder: write_scan(folder / "a.nii"), ["--window", 4, "--overlap", 1], "Expected an overlap as a share"),
    "no slices": (lambda folder: write_scan(folder / "a.nii"), ["--slices", 0], "--slices"),
    "the scan itself": (lambda folder: write_scan(folder / "a.nii"), ["-o", "a.nii"], "would overwrite"),
    "more concepts than channels": (
        lambda folder: write_scan(folder / "a.nii"),
        ["--method", "dff"],
        "Expected 1 to 2 components, of 2 channels",
    ),
    "a spacing of two sizes": (lambda folder: write_scan(folder / "a.nii"), ["--spacing", 1, 1], "--spacing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_volumes(config: Any, run: Run, tmp_path: Path, case: str) -> None:
    make, options, message = WRONG[case]
    image = make(tmp_path)
    recipe = config(input={"kind": "volume"})
    before = sorted(tmp_path.iterdir())

    finished = run("vis", image, recipe, *options)

    assert finished.exit_code == 2, finished.stdout
    assert message in finished.stderr
    assert finished.stderr.count("Error: ") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("volume", "'input' of .* must be a dict such as"),
        ({"kind": "volumes"}, "'input.kind' must be one of image, volume, signal, got 'volumes'; closest: 'volume'"),
        ({"kind": "volume", "spacin": (1, 1, 1)}, "'input' has no key 'spacin'; closest: 'spacing'"),
        ({"kind": "volume", "spacing": (1, 1)}, "'input': Expected spacing as three sizes"),
        ({"kind": "image", "spacing": (1, 1)}, "'input' has no key 'spacing'; expected kind, max_pixels, value_range, frame."),
        ({"kind": "image", "channels": (0, 1)}, "'input' has no key 'channels'"),
        ({"kind": "image", "value_range": (5.0, 3.0)}, r"'input': Expected value_range as the lowest and the highest value, .* got \(5"),
    ],
)
def test_wrong_inputs_in_a_config(config: Any, run: Run, tmp_path: Path, given: Any, message: str) -> None:
    import re

    finished = run("vis", write_scan(tmp_path / "a.nii"), config(input=given))

    assert finished.exit_code == 2
    assert re.search(message, finished.stderr), finished.stderr


def test_a_picture_for_a_network_on_volumes_is_what_is_wrong_not_the_config(config: Any, run: Run, tmp_path: Path) -> None:
    finished = run("vis", _picture(tmp_path), config(input={"spacing": (1, 1, 1)}))

    assert finished.exit_code == 2
    assert "cat.png" in finished.stderr
    assert "'input'" not in finished.stderr


def test_which_axis_numbers_the_volumes_and_what_stands_for_nan(config: Any, run: Run, tmp_path: Path) -> None:
    values = np.stack([scan(None).values, np.flip(scan(None).values, 0)])
    values[0, 0, 0, 0] = np.nan
    np.save(tmp_path / "two.npy", values)
    recipe = config()

    command = ("vis", "two.npy", recipe, "--spacing", 1, 1, 1)
    unsaid = run(*command, "-o", "a.nrrd")
    missing = run(*command, "--volume-axis", 0, "--volume", 0, "-o", "a.nrrd")
    wrong = run(*command, "--volume-axis", 4, "--volume", 0, "-o", "a.nrrd")
    first = run(*command, "--volume-axis", 0, "--volume", 0, "--nan-as", 0, "-o", "first.nrrd")
    second = run(*command, "--volume-axis", 0, "--volume", 1, "-o", "second.nrrd")

    for finished, message in ((unsaid, "--volume-axis 0 --volume 0"), (missing, "--nan-as 0"), (wrong, "--volume-axis")):
        assert finished.exit_code == 2, finished.stdout
        assert message in finished.stderr
        assert finished.stderr.count("\n") == 1
    assert (first.exit_code, second.exit_code) == (0, 0), first.stderr
    assert not (tmp_path / "a.nrrd").exists()
    places = [np.unravel_index(np.nanargmax(read_volume(tmp_path / f"{name}.nrrd").values), SHAPE) for name in ("first", "second")]
    assert abs(places[0][0] - BALL[0]) < 2
    assert abs(places[1][0] - (SHAPE[0] - 1 - BALL[0])) < 2
