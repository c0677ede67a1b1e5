"""`vis` with several images: files, folders, patterns, standard input; what fails is named and counted."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from camtool.apis.outputs import unique_stems
from camtool.cli.main import app
from camtool.cli.positionals import find_images, split_positionals
from camtool.errors import ConfigError, ImageError, warn
from camtool.io.images import encode
from camtool.io.pillow import Reading
from tests.cli.fixtures import CAT, ESPRESSO, LITE0, ROCKET, Run, pixels
from tests.models.fixtures import SMALL


@pytest.fixture
def small(small_path: Path, tmp_path: Path) -> str:
    return str(shutil.copy(small_path, tmp_path / "small.py"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with two images, one of them broken, and what is no image."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    shutil.copy(CAT, folder / "cat.jpg")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.jpg").write_bytes(b"")
    shutil.copy(ROCKET, folder / "below/rocket.jpg")
    return folder


def test_the_network_is_built_once_and_each_image_gives_what_it_gives_alone(
    run: Run, small: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alone = {}
    for image in (CAT, ESPRESSO, ROCKET):
        report = run("vis", image, small, "--random-weights", "--save-path", "alone.png", "--save-raw", "alone.npz", "--json").report
        assert isinstance(report, dict)
        alone[image] = report, pixels("alone.png"), dict(np.load("alone.npz"))
    built: list[Any] = []
    from camtool.apis import model

    load = model.load_network
    monkeypatch.setattr(model, "load_network", lambda *given, **settings: built.append(1) or load(*given, **settings))
    for batch_size in (1, 2, 8):
        finished = run(
            *("vis", CAT, ESPRESSO, ROCKET, small, "--random-weights", "--save-path", f"out{batch_size}", "--save-raw", f"raw{batch_size}"),
            *("--batch-size", batch_size, "--json"),
        )
        assert finished.exit_code == 0, finished.stderr
        reports = json.loads(finished.stdout)
        assert [report["image"] for report in reports] == [CAT, ESPRESSO, ROCKET]
        for report in reports:
            one, picture, arrays = alone[report["image"]]
            for key in ("predicted", "layers", "methods", "status"):
                assert report[key] == one[key] or key == "predicted"
            assert report["predicted"]["index"] == one["predicted"]["index"]
            assert report["predicted"]["probability"] == pytest.approx(one["predicted"]["probability"], abs=1e-5)
            stem = Path(report["image"]).stem
            assert report["outputs"] == [
                f"out{batch_size}/{stem}_gradcam_{one['predicted']['index']}.jpg",
                f"raw{batch_size}/{stem}.npz",
            ]
            saved = dict(np.load(report["outputs"][1]))
            assert saved.keys() == arrays.keys()
            np.testing.assert_allclose(saved["map/gradcam"], arrays["map/gradcam"], rtol=1e-4, atol=1e-5)
            assert np.abs(pixels(report["outputs"][0]).astype(int) - picture).mean() < 3  # JPEG
    assert len(built) == 3


def test_a_folder_is_all_its_images_and_a_broken_one_does_not_stop_the_others(run: Run, small: str, pictures: Path) -> None:
    finished = run("vis", pictures, small, "--random-weights", "--json")
    assert finished.exit_code == 2
    broken, whole = json.loads(finished.stdout)
    assert [broken["image"], whole["image"]] == [str(pictures / name) for name in ("broken.png", "cat.jpg")]
    assert "is not an image" in broken["error"]
    assert Path(whole["outputs"][0]).exists()
    assert "broken.png" in finished.stderr
    assert finished.stderr.rstrip().endswith("Error: 1 of 2 images could not be explained.")


def test_strict_stops_at_the_first_that_fails(run: Run, small: str, pictures: Path) -> None:
    finished = run("vis", pictures / "broken.png", pictures / "cat.jpg", small, "--random-weights", "--strict", "--json")
    assert finished.exit_code == 2
    assert "is not an image" in json.loads(finished.stdout)["error"]
    assert finished.stderr.count("\n") == 1
    assert not Path("outputs").exists()


@pytest.mark.parametrize("image", ["{}/below", "{}/below/*.jpg", "{}/**/rocket.*"])
def test_a_folder_or_a_pattern_of_one_image_gives_a_list(image: str, run: Run, small: str, pictures: Path) -> None:
    (report,) = json.loads(run("vis", image.format(pictures), small, "--random-weights", "--json").stdout)
    assert report["image"] == str(pictures / "below/rocket.jpg")
    assert report["outputs"] == ["outputs/vis_cam/rocket_small_gradcam.jpg"]


def test_a_file_whose_name_has_brackets_is_no_pattern(run: Run, small: str, tmp_path: Path) -> None:
    shutil.copy(CAT, tmp_path / "cat[1].jpg")
    assert run("vis", "cat[1].jpg", small, "--random-weights", "--json").report["outputs"] == ["outputs/vis_cam/cat[1]_small_gradcam.jpg"]


def test_images_of_one_name_get_numbers(run: Run, small: str, tmp_path: Path) -> None:
    for folder, name in (("a", "cat.jpg"), ("b", "cat.jpg"), ("c", "CAT.png"), ("d", "cat_2.jpg")):
        (tmp_path / folder).mkdir()
        shutil.copy(CAT, tmp_path / folder / name)
    images = ["a/cat.jpg", "b/cat.jpg", "c/CAT.png", "d/cat_2.jpg"]
    reports = json.loads(run("vis", *images, small, "--random-weights", "--json").stdout)
    assert [Path(report["outputs"][0]).name for report in reports] == [
        f"{stem}_small_gradcam.jpg" for stem in ("cat", "cat_3", "CAT_4", "cat_2")
    ]


def test_standard_input_is_one_image(small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finished = CliRunner().invoke(app, ["vis", "-", small, "--random-weights", "--json"], input=Path(CAT).read_bytes())
    assert finished.exit_code == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert (report["image"], report["outputs"]) == ("stdin", ["outputs/vis_cam/stdin_small_gradcam.jpg"])
    finished = CliRunner().invoke(app, ["vis", "-", small, "--random-weights"], input=b"")
    assert finished.exit_code == 2
    assert "standard input" in finished.stderr


def test_concepts_of_several_images(run: Run, pictures: Path) -> None:
    finished = run("vis", pictures, ESPRESSO, LITE0, "--method", "dff", "--n-components", 3, "--json")
    assert finished.exit_code == 2
    reports = json.loads(finished.stdout)
    assert [len(report.get("concepts", ())) for report in reports] == [0, 3, 3]


def test_concepts_of_random_weights_are_said_to_mean_nothing(run: Run, small: str) -> None:
    finished = run("vis", CAT, ROCKET, small, "--random-weights", "--method", "dff", "--n-components", 2)
    assert "RANDOM WEIGHTS (--random-weights): these concepts mean nothing." in finished.stderr


def test_warnings_on_concepts_name_the_image(run: Run, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from camtool.apis import concepts

    factorize = concepts.deep_feature_factorization

    def warning(*arguments: Any, **settings: Any) -> Any:
        warn("not converged")
        return factorize(*arguments, **settings)

    monkeypatch.setattr(concepts, "deep_feature_factorization", warning)
    options = [small, "--random-weights", "--method", "dff", "--n-components", 2]
    assert f"Warning: {ROCKET}: not converged" in run("vis", CAT, ROCKET, *options).stderr
    assert "Warning: not converged" in run("vis", CAT, *options).stderr


def test_the_table_has_a_line_for_each_image(run: Run, small: str) -> None:
    finished = run("vis", CAT, ROCKET, small, "--random-weights", "--save-path", "new/folder")
    assert finished.exit_code == 0, finished.stderr
    assert finished.stdout.count("Checkpoint") == 0
    for stem in ("cat", "rocket"):
        assert f"demo/{stem}.jpg" in finished.stdout
        assert f"new/folder/{stem}_gradcam_" in finished.stdout
    assert finished.stdout.count("Layer: ") == 1
    assert "for 2 images" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([CAT, ROCKET, "{small}", "--save-path", "maps.png"], "Several images are saved in a folder, got the file name 'maps.png'"),
        ([CAT, ROCKET, "{small}", "--save-raw", "maps.npz"], "--save-raw of several images is a folder"),
        ([CAT, "{small}", "--save-raw", "maps"], "--save-raw writes a .npz file, got 'maps'"),
        ([CAT, "-", "{small}"], "'-' reads one image from standard input; give it alone"),
        (["none/*.jpg", "{small}"], "No image matches 'none/*.jpg'"),
        ([CAT, "{small}", "a.pth", "b.pth"], "at most one argument, CHECKPOINT, after CONFIG"),
        (["{small}"], "Expected IMG and CONFIG"),
        ([CAT], "Expected IMG and CONFIG"),
        ([CAT, ROCKET], "Expected IMG and CONFIG"),
        ([CAT, "--preview-model"], "Expected IMG and CONFIG"),
        ([CAT, ROCKET, "smal.py"], "No config 'smal.py'; closest: 'small.py'"),
        ([CAT, ROCKET, "{small}", "--batch-size", "0"], "batch-size"),
        ([CAT, ROCKET, "{small}", "--method", "grandcam"], "closest: 'gradcam'"),
        ([CAT, ROCKET, "{small}", "--target-category", "cat"], "no names. Give an index"),
    ],
)
def test_what_cannot_be_is_one_readable_error(arguments: list[str], words: str, run: Run, small: str, tmp_path: Path) -> None:
    finished = run("vis", *(argument.format(small=small) for argument in arguments), "--random-weights")
    assert finished.exit_code == 2
    assert words in " ".join(finished.stderr.split())
    assert "Traceback" not in finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["small.py"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a.jpg", "timm/resnet18"], (["a.jpg"], "timm/resnet18", None)),
        (["a.jpg", "b.jpg", "timm/resnet18", "w.pth"], (["a.jpg", "b.jpg"], "timm/resnet18", "w.pth")),
        (["a.jpg", "efficientnet-lite0_in1k"], (["a.jpg"], "efficientnet-lite0_in1k", None)),
        (["a.jpg", "deit-tiny_4xb256_in1k", "w.pth"], (["a.jpg"], "deit-tiny_4xb256_in1k", "w.pth")),
        (["timm/resnet18", "timm/resnet18"], (["timm/resnet18"], "timm/resnet18", None)),  # the first is an image, always
        (["a.jpg", "misspelt.py"], (["a.jpg"], "misspelt.py", None)),
        (["a.jpg", "misspelt", "w.pth"], (["a.jpg"], "misspelt", "w.pth")),
        (["a.jpg", "b.jpg", "misspelt.py", "w.pth"], (["a.jpg", "b.jpg"], "misspelt.py", "w.pth")),
        (["a.jpg", "mmpretrain::resnet/resnet18_8xb32_in1k.py"], (["a.jpg"], "mmpretrain::resnet/resnet18_8xb32_in1k.py", None)),
    ],
)
def test_which_argument_is_the_config(arguments: list[str], expected: tuple[list[str], str, str | None]) -> None:
    found = split_positionals(arguments)
    assert (list(found.images), found.config, found.checkpoint) == expected


def test_a_preview_needs_no_image() -> None:
    assert split_positionals(["timm/resnet18"], needs_image=False).config == "timm/resnet18"
    assert list(split_positionals(["a.jpg", "timm/resnet18"], needs_image=False).images) == ["a.jpg"]
    with pytest.raises(ConfigError, match="Expected IMG and CONFIG"):
        split_positionals([], needs_image=False)


def test_folders_say_where_images_are(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    shutil.copy(CAT, tmp_path / "sub/cat.jpg")
    with pytest.raises(ImageError, match=r"No image in the folder .*There are some in '.*sub'"):
        find_images([str(tmp_path)])
    assert find_images([str(tmp_path / "sub")]).several
    assert not find_images([CAT]).several


def test_an_image_that_cannot_be_drawn_on_does_not_stop_the_others(run: Run, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from camtool.apis import picture_canvas

    measure = picture_canvas.measure_geometry

    def refusing(picture: np.ndarray, preprocess: Any) -> Any:
        if picture.shape[0] < 400:
            raise ImageError("The preprocessing is more than a resize and a crop.")
        return measure(picture, preprocess)

    monkeypatch.setattr(picture_canvas, "measure_geometry", refusing)
    sizes = {image: pixels(image).shape[0] for image in (CAT, ROCKET)}
    assert min(sizes.values()) < 400 <= max(sizes.values()), sizes
    finished = run("vis", CAT, ROCKET, small, "--random-weights", "--original", "--json")
    assert finished.exit_code == 2
    assert sorted("error" in report for report in json.loads(finished.stdout)) == [False, True]


def test_one_reason_for_all_of_a_batch_is_one_error(run: Run, small: str) -> None:
    finished = run("vis", CAT, ESPRESSO, ROCKET, small, "--random-weights", "--target-category", "9", "--batch-size", "2")
    assert finished.exit_code == 2
    assert finished.stderr.count("out of range") == 2  # of the first image, then of them all
    assert not Path("outputs").exists()


def test_a_tilde_before_a_name_is_a_home_folder_only_where_there_is_one(
    run: Run, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    shutil.copy(CAT, tmp_path / "pictures/~cat.jpg")
    monkeypatch.chdir(tmp_path / "pictures")
    (report,) = json.loads(run("vis", ".", small, "--random-weights", "--json").stdout)
    assert report["image"] == "~cat.jpg"
    for arguments in (
        ["vis", "~no-such-user/cat.jpg", small, "--random-weights"],
        ["vis", CAT, small, "~no-such-user/weights.pth"],
        ["vis", CAT, small, "--random-weights", "--target-image", "~no-such-user/cat.jpg"],
        ["browse", small, "--random-weights", "--image", "~no-such-user/cat.jpg"],
    ):
        finished = run(*arguments)
        assert finished.exit_code == 2, finished.stderr
        assert "'~no-such-user/" in finished.stderr


def test_closed_standard_input_is_one_readable_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ImageError, match="Standard input is closed"):
        find_images(["-"]).images(Reading())


def test_a_folder_that_cannot_be_read_is_one_readable_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(CAT, tmp_path / "cat.jpg")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ImageError, match="No permission to read the folder"):
        find_images([str(tmp_path)])


def test_names_are_made_unique_in_a_moment_however_many_are_equal() -> None:
    names = [f"{number}/image.jpg" for number in range(20_000)]
    assert unique_stems([*names, "x/image_7.jpg"])[-3:] == ["image_20000", "image_20001", "image_7"]
    assert unique_stems(["a/\u00e9.jpg", "b/e\u0301.jpg", "A.jpg", "a.png"]) == ["\u00e9", "e\u0301_2", "A", "a_2"]


@pytest.mark.parametrize(
    "cam",
    [
        "dict(method='guidedbackprop', target_layers='backbone.layer3')",  # a method that reads no layers
        "dict(method='of_a_project', target_layers=['backbone.layer3', 'backbone.layer4'])",
        "dict(target='contrast', target_layers='backbone.layer3')",  # which needs more
    ],
)
def test_concepts_take_only_the_target_layer_of_a_config(cam: str, run: Run, small: str) -> None:
    Path(small).write_text(f"{Path(small).read_text()}\ncam = {cam}\n")
    report = run("vis", CAT, small, "--random-weights", "--method", "dff", "--json").report
    assert report["layers"] == ["backbone.layer3"]


def test_no_image_that_is_read_is_overwritten(run: Run, small: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    shutil.copy(CAT, tmp_path / "a/x.jpg")
    shutil.copy(ROCKET, tmp_path / "a/x_gradcam_1.jpg")
    before = (tmp_path / "a/x_gradcam_1.jpg").read_bytes()
    finished = run("vis", "a", small, "--random-weights", "--target-category", "1", "--save-path", "a", "--json")
    assert finished.exit_code == 2
    first, second = json.loads(finished.stdout)
    assert first["error"] == "Writing 'a/x_gradcam_1.jpg' would overwrite an image that is read. Choose another path."
    assert second["outputs"] == ["a/x_gradcam_1_gradcam_1.jpg"]
    for arguments in (
        ["vis", "a/x_gradcam_1.jpg", small, "--save-path", "a/../a/x_gradcam_1.jpg"],
        ["browse", small, "--image", "a/x.jpg", "a/cam_x.jpg", "--out-dir", "a"],
    ):
        shutil.copy(ROCKET, tmp_path / "a/cam_x.jpg")
        finished = run(*arguments, "--random-weights")
        assert finished.exit_code == 2
        assert "would overwrite an image that is read" in finished.stderr
        assert (tmp_path / "a/cam_x.jpg").read_bytes() == Path(ROCKET).read_bytes()
    assert (tmp_path / "a/x_gradcam_1.jpg").read_bytes() == before


def test_a_name_too_long_for_its_results_does_not_stop_the_others(run: Run, small: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a" * 245, "b"):
        shutil.copy(CAT, tmp_path / f"a/{name}.jpg")
    finished = run("vis", "a", small, "--random-weights", "--json")
    assert finished.exit_code == 2
    assert ["error" in report for report in json.loads(finished.stdout)] == [True, False]


@pytest.mark.parametrize("method", ["gradcam", "dff"])
def test_an_image_that_the_network_does_not_take_does_not_stop_the_others(method: str, run: Run, tmp_path: Path) -> None:
    config = SMALL.replace("type='ResNet', depth=18, base_channels=8, stem_channels=8", "type='VGG', depth=11").replace("=64)", "=512)")
    config = "\n".join(line for line in config.splitlines() if "CenterCrop" not in line and "ResizeEdge" not in line)
    (tmp_path / "vgg.py").write_text(config)
    for name, side in (("a", 64), ("b", 9), ("c", 64)):
        (tmp_path / f"{name}.png").write_bytes(encode(np.full((side, side, 3), 90, np.uint8), ".png"))
    options = ["--n-components", 2] if method == "dff" else []
    finished = run("vis", "a.png", "b.png", "c.png", "vgg.py", "--random-weights", "--method", method, "--json", *options)
    assert finished.exit_code == 2, finished.stderr
    reports = json.loads(finished.stdout)
    assert ["error" in report for report in reports] == [False, True, False]
    assert "Raised by the network itself" in reports[1]["error"]


def test_a_preview_takes_one_image_at_most(run: Run, small: str) -> None:
    finished = run("vis", "--preview-model", CAT, ROCKET, small, "--random-weights")
    assert finished.exit_code == 2
    assert "takes one image at most, got 2" in finished.stderr


def test_the_reference_image_is_not_overwritten(run: Run, small: str, tmp_path: Path) -> None:
    shutil.copy(ROCKET, tmp_path / "reference.jpg")
    before = (tmp_path / "reference.jpg").read_bytes()
    finished = run("vis", CAT, small, "--random-weights", "--target-image", "reference.jpg", "--save-path", "reference.jpg")
    assert finished.exit_code == 2
    assert "would overwrite an image that is read" in finished.stderr
    assert (tmp_path / "reference.jpg").read_bytes() == before
