"""`camtool browse` on a network that was trained here: which pictures, what is said of them, what is drawn, what is refused."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from camtool.visualization.figures import panels
from tests.cli.fixtures import CAT, LITE0, Finished, Run, pixels
from tests.cli.trained import NAMES, PER_CLASS, SIDE, SIZE, train

DATA = "val_dataloader.dataset"
SEVEN = 7  # times 32 pixels are the 224 that captions need


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `config.py`, `data/` and the Runner's checkpoint `work/epoch_12.pth`."""
    folder = tmp_path_factory.mktemp("trained")
    train(folder)
    return folder


@pytest.fixture
def browse(run: Run, trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `camtool browse config.py work/epoch_12.pth` with more arguments; its figures go to `tmp_path / "out"`."""
    monkeypatch.chdir(trained)
    return lambda *arguments: run("browse", "config.py", "work/epoch_12.pth", "--out-dir", tmp_path / "out", *arguments)


def tiles(path: Path) -> list[np.ndarray]:
    """Return original, map and overlay of a figure of 32x32 pictures."""
    figure = pixels(path)
    step = SEVEN * SIZE + 8
    return [figure[8:step:SEVEN, left : left + SEVEN * SIZE : SEVEN] for left in (8, 8 + step, 8 + 2 * step)]


def file_of(split: str, index: int) -> Path:
    """Return the picture that the data set has at `index`: classes in order, pictures in order."""
    number = PER_CLASS[split]
    return Path("data") / split / NAMES[index // number] / f"{index % number:02d}.png"


# which pictures


def test_random_samples_are_counted_from_0_and_none_comes_twice(browse: Run, tmp_path: Path) -> None:
    report = browse("--random", 5, "--json").report

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"random_cam_{i}.png" for i in range(5)]
    assert [Path(one["output"]).name for one in report["samples"]] == [f"random_cam_{i}.png" for i in range(5)]
    assert report["outputs"] == [one["output"] for one in report["samples"]]
    assert len({one["index"] for one in report["samples"]}) == 5
    for one in report["samples"]:
        assert one["image"] == str(file_of("val", one["index"]))
        assert [true["name"] for true in one["true"]] == [Path(one["image"]).parent.name]


def test_random_samples_are_seeded_and_more_begin_with_the_same(browse: Run) -> None:
    def indices(*options: Any) -> list[int]:
        return [one["index"] for one in browse("--json", *options).report["samples"]]

    assert indices("--random", 3) == indices("--random", 3, "--seed", 0) == indices("--random", 5)[:3]
    assert indices("--random", 3, "--seed", 1) != indices("--random", 3)


@pytest.mark.parametrize(("split", "index"), [("val", 7), ("train", 40)])
def test_a_sample_is_named_by_its_index(browse: Run, tmp_path: Path, split: str, index: int) -> None:
    report = browse("--index", index, "--split", split, "--json").report

    (one,) = report["samples"]
    assert one["output"] == str(tmp_path / f"out/index_{index}_cam.png")
    assert (one["image"], one["index"], report["split"]) == (str(file_of(split, index)), index, split)
    assert one["true"] == [{"index": index // PER_CLASS[split], "name": NAMES[index // PER_CLASS[split]]}]


def test_pictures_of_the_training_split_are_not_augmented(browse: Run, tmp_path: Path) -> None:
    browse("--index", 40, "--split", "train")  # its pipeline flips every picture

    original = tiles(tmp_path / "out/index_40_cam.png")[0]
    np.testing.assert_array_equal(original, pixels(file_of("train", 40)))
    assert not np.array_equal(original, original[:, ::-1])


def test_picture_files_are_named_after_themselves_and_have_no_true_class(browse: Run, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "map.gif")
    pictures = ["data/val/red/00.png", "data/val/blue/00.png", CAT, tmp_path / "map.gif"]
    report = browse("--image", *pictures, "--json").report

    names = ["cam_00.png", "cam_00_2.png", "cam_cat.jpg", "cam_map.gif.png"]
    assert [Path(one["output"]).name for one in report["samples"]] == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    assert [one["true"] for one in report["samples"]] == [[]] * 4
    assert [one["predicted"]["name"] for one in report["samples"]][:2] == ["red", "blue"]
    assert report["split"] is None


def test_a_config_without_a_data_set_serves_for_picture_files(run: Run, tmp_path: Path) -> None:
    report = run("browse", LITE0, "--image", CAT, "--method", "cam", "--json").report

    assert report["samples"][0]["predicted"]["name"] == "tiger cat"
    assert report["outputs"] == ["outputs/browse/cam_cat.jpg"]
    assert (tmp_path / "outputs/browse/cam_cat.jpg").exists()


# what is said


def test_the_network_was_trained(browse: Run) -> None:
    report = browse("--random", 18, "--json").report

    assert all(one["predicted"]["index"] == one["true"][0]["index"] for one in report["samples"])


def test_the_prediction_is_that_of_vis(browse: Run, run: Run) -> None:
    (one,) = browse("--index", 7, "--json").report["samples"]
    of_vis = run("vis", file_of("val", 7), "config.py", "work/epoch_12.pth", "--json").report

    assert one["predicted"] == of_vis["predicted"]
    assert one["target"] == of_vis["targets"][0]


@pytest.mark.parametrize("typed", ["2", "red", "RED"])
def test_true_predicted_and_target_class_are_told_apart(browse: Run, typed: str) -> None:
    finished = browse("--index", 7, "--class-idx", typed)
    (one,) = browse("--index", 7, "--class-idx", typed, "--json").report["samples"]

    assert one["true"] == [{"index": 1, "name": "green"}]
    assert (one["predicted"]["index"], one["target"]["index"]) == (1, 2)
    assert one["predicted"]["probability"] > 0.5 > one["target"]["probability"]
    row = next(line for line in finished.stdout.splitlines() if "index_7_cam.png" in line)
    assert "green (1)  " in row
    assert f"green (1), {100 * one['predicted']['probability']:.1f} %" in row
    assert f"red (2), {100 * one['target']['probability']:.1f} %" in row


def test_the_table_names_layer_and_checkpoint_with_the_counts_of_its_keys(browse: Run) -> None:
    finished = browse("--random", 3)

    assert len([line for line in finished.stdout.splitlines() if "random_cam_" in line]) == 3
    assert "Layer: backbone.layer2[1] (" in finished.stdout
    assert "Checkpoint: work/epoch_12.pth (62 of 62 keys loaded, 0 missing, 0 unexpected, weights under 'state_dict')" in finished.stdout
    assert finished.stderr == ""


def test_json_has_the_counts_too(browse: Run) -> None:
    report = browse("--index", 0, "--json").report

    assert report["checkpoint"] == "work/epoch_12.pth"
    assert report["weights"].items() >= {"source": "work/epoch_12.pth", "loaded": 62, "missing": 0, "unexpected": 0}.items()
    assert len(report["weights"]["sha256"]) == 64


def test_weights_without_class_names_take_them_from_the_data_set(browse: Run, run: Run, tmp_path: Path) -> None:
    state = torch.load("work/epoch_12.pth", weights_only=False)["state_dict"]
    torch.save(state, tmp_path / "raw.pth")

    report = run("browse", "config.py", tmp_path / "raw.pth", "--index", 7, "--class-idx", "red", "--out-dir", tmp_path, "--json").report
    assert report["samples"][0]["predicted"]["name"] == "green"
    assert report["samples"][0]["target"]["name"] == "red"


def test_a_data_set_of_other_classes_is_remarked_upon(browse: Run, run: Run, tmp_path: Path) -> None:
    for name, other in zip(NAMES, ("ant", "bee", "cow"), strict=True):
        shutil.copytree(f"data/val/{name}", tmp_path / "val" / other)

    report = browse("--index", 7, "--json", "--cfg-options", f"val_dataloader.dataset.data_root={tmp_path / 'val'}").report
    assert report["samples"][0]["true"] == [{"index": 1, "name": "bee"}]
    assert report["samples"][0]["predicted"]["name"] == "green"
    assert "not those that the network was trained on" in " ".join(report["warnings"])


def test_a_data_set_without_labels_has_no_true_class(browse: Run) -> None:
    options = ["val_dataloader.dataset.with_label=False", "val_dataloader.dataset.data_root=data/val/red"]
    report = browse("--index", 2, "--json", "--cfg-options", *options).report

    assert report["samples"][0]["true"] == []
    assert report["samples"][0]["predicted"]["name"] == "red"


# what is drawn


def _jet(maps: np.ndarray) -> np.ndarray:
    import cv2

    levels = (maps * 255).round().astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)


def test_the_figure_is_original_map_in_jet_and_six_tenths_of_picture_under_four_of_map(browse: Run, run: Run, tmp_path: Path) -> None:
    browse("--index", 7, "--class-idx", "2")
    run("vis", file_of("val", 7), "config.py", "work/epoch_12.pth", "--target-category", "2", "--save-raw", tmp_path / "a.npz")

    original, heat, over = tiles(tmp_path / "out/index_7_cam.png")
    with np.load(tmp_path / "a.npz") as arrays:
        expected = _jet(arrays["map/gradcam"][0])
    np.testing.assert_array_equal(original, pixels(file_of("val", 7)))
    np.testing.assert_array_equal(heat, expected)
    assert np.abs(over - (0.6 * original + 0.4 * expected)).max() <= 1


def test_the_panels_name_true_predicted_and_target_class(browse: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[Any, ...]] = []

    def spy(picture: Any, cells: Any, style: Any, **captions: Any) -> Any:
        given.append((captions["input_captions"], cells[0].title, captions["overlay_captions"]))
        return panels(picture, cells, style, **captions)

    monkeypatch.setattr("camtool.apis.picture_canvas.panels", spy)
    (one,) = browse("--index", 7, "--class-idx", 2, "--json").report["samples"]
    browse("--image", file_of("val", 7), "--method", "eigencam")

    (original, title, over), (unlabelled, any_class, _) = given
    assert original == ["original", "true: green (1)"]
    assert title == "CAM for red (2)"
    predicted, target = (f"{100 * one[kind]['probability']:.1f} %" for kind in ("predicted", "target"))
    assert over == ["overlay", f"predicted: green (1), {predicted}", f"target: red (2), {target}"]
    assert unlabelled == ["original"]
    assert any_class == "CAM for any class"


def test_several_methods_have_a_row_of_panels_each(browse: Run, tmp_path: Path) -> None:
    browse("--index", 7, "--method", "cam")
    one = pixels(tmp_path / "out/index_7_cam.png")
    report = browse("--index", 7, "--method", "cam", "eigencam", "--json").report

    assert report["methods"] == ["cam", "eigencam"]
    assert pixels(tmp_path / "out/index_7_cam.png").shape[0] > 1.8 * one.shape[0]


def test_a_map_without_evidence_says_so_on_the_picture(browse: Run, run: Run, tmp_path: Path) -> None:
    state = torch.load("work/epoch_12.pth", weights_only=False)["state_dict"]
    state["head.fc.weight"][2] = -1.0
    torch.save(state, tmp_path / "negative.pth")

    command = ("browse", "config.py", tmp_path / "negative.pth", "--random", 2, "--class-idx", 2, "--out-dir", tmp_path / "out", "--json")
    finished = run(*command)
    assert all(one["status"]["gradcam"].startswith("no positive evidence") for one in finished.report["samples"])
    assert re.search(r"Warning: data/val/\w+/\d+\.png: gradcam, target 2: no positive evidence", finished.stderr)
    below = pixels(tmp_path / "out/random_cam_0.png")[8 + SEVEN * SIZE :].astype(int)
    assert (below[..., 0] > below[..., 1] + 80).any()  # in red


def test_random_weights_are_said_loudly_also_on_the_picture(browse: Run, run: Run, tmp_path: Path) -> None:
    finished = run("browse", "config.py", "--random", 1, "--random-weights", "--out-dir", tmp_path / "out", "--json")

    assert "RANDOM WEIGHTS" in finished.stderr
    assert finished.report["weights"] is None
    bottom = pixels(tmp_path / "out/random_cam_0.png")[-30:].astype(int)
    assert (bottom[..., 0] > bottom[..., 1] + 80).any()


# what is refused


def _refused(finished: Finished, *said: str) -> None:
    assert finished.exit_code == 2, finished.stderr
    assert finished.stderr.startswith("Error: ")
    assert finished.stderr.count("\n") == 1
    for text in said:
        assert text in finished.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "exactly one of --random N, --index I or --image PATH; got none."),
        (["--random", 1, "--index", 1], "got --random N and --index I"),
        (["--random", 1, "--image", CAT], "got --random N and --image PATH"),
        (["--random", 0], "Expected 1 to 18 random samples, the size of the split 'val'; got 0"),
        (["--random", 19], "Expected 1 to 18 random samples, the size of the split 'val'; got 19"),
        (["--index", 18], "Index 18 is out of range: the split 'val' has 18 samples, 0 to 17"),
        (["--index", -1], "Index -1 is out of range"),
        (["--index", 48, "--split", "train"], "the split 'train' has 48 samples"),
        (["--index", 0, "--split", "validation"], "Unknown split 'validation'; expected train or val"),
        (["--index", 0, "--class-idx", 3], "Class index 3 is out of range: the network has 3 classes, 0 to 2"),
        (["--index", 0, "--class-idx", -1], "out of range"),
        (["--index", 0, "--class-idx", "gren"], "closest: 'green'"),
        (["--index", 0, "--method", "gradkam"], "closest: 'gradcam'"),
        (["--image", "nothing.png"], "No picture 'nothing.png'"),
        (["--index", 0, "--cfg-options", f"{DATA}.data_root=data/gone"], "'data/gone' does not exist"),
        (["--index", 0, "--cfg-options", f"{DATA}.data_root=data/gone"], f"--cfg-options {DATA}.data_root="),
        (
            ["--index", 0, "--cfg-options", f"{DATA}.type=CustomDatset"],
            "unknown data set type 'CustomDatset'; closest: 'CustomDataset'",
        ),
        (["--index", 0, "--cfg-options", f"{DATA}.extensions=['.tiff']"], "cannot be read: RuntimeError: Found 0 files"),
        (["--index", 0, "--device", "tpu9"], "Unknown device"),
    ],
)
def test_what_does_not_work_is_one_line_and_nothing_is_written(browse: Run, tmp_path: Path, options: list[Any], said: str) -> None:
    _refused(browse(*options), said)
    assert not (tmp_path / "out").exists()


def test_a_config_without_a_data_set_says_which_key_it_lacks(run: Run) -> None:
    _refused(
        run("browse", LITE0, "--random", 2, "--split", "train"),
        "no data set for the split 'train'",
        "'train_dataloader.dataset'",
        "--image",
    )


@pytest.mark.parametrize("out", ["file", "file/in"])
def test_a_folder_that_cannot_be_made_is_found_before_any_work(run: Run, browse: Run, tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("")
    _refused(run("browse", "config.py", "no such checkpoint", "--index", 0, "--out-dir", tmp_path / out), "is a file, not a directory")


def test_nothing_is_written_when_one_of_several_pictures_cannot_be_read(browse: Run, tmp_path: Path) -> None:
    (tmp_path / "half.png").write_bytes(Path(CAT).read_bytes()[:3000])

    _refused(browse("--image", CAT, tmp_path / "half.png"), "half.png")
    assert not (tmp_path / "out").exists()


def test_a_damaged_picture_of_the_data_set_is_named(browse: Run, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "data/val", tmp_path / "val")
    (tmp_path / "val/green/01.png").write_bytes(b"\x89PNG")

    root = f"val_dataloader.dataset.data_root={tmp_path / 'val'}"
    _refused(browse("--random", 18, "--cfg-options", root), "green/01.png")
    assert not (tmp_path / "out").exists()


def test_with_json_the_error_is_an_object_too(browse: Run) -> None:
    assert "out of range" in json.loads(browse("--index", 99, "--json").stdout)["error"]


# the way of the seed's main job: `vis` on the trained checkpoint, by the method that such a network is made for


def test_vis_with_cam_on_the_trained_checkpoint_lights_the_square(browse: Run, run: Run, tmp_path: Path) -> None:
    shares = []
    for index in range(0, 18, 2):
        path = file_of("val", index)
        report = run("vis", path, "config.py", "work/epoch_12.pth", "--method", "cam", "--save-raw", tmp_path / "a.npz", "--json").report
        assert report["predicted"]["name"] == path.parent.name
        assert report["weights"].items() >= {"loaded": 62, "missing": 0, "unexpected": 0}.items()
        with np.load(tmp_path / "a.npz") as arrays:
            raw, logits = arrays["raw/cam/backbone.layer2[1]"][0], arrays["logits"]
            saliency = arrays["map/cam"][0]
        bias = torch.load("work/epoch_12.pth", weights_only=False)["state_dict"]["head.fc.bias"][report["predicted"]["index"]]
        assert raw.mean() + bias.item() == pytest.approx(logits.max(), rel=1e-4)
        square = np.ptp(pixels(path).astype(int), axis=2) > 100
        assert square.sum() == SIDE * SIDE
        shares.append(saliency[square].sum() / saliency.sum())
    # The square is 14 % of the picture.
    assert np.mean(shares) > 2.5 * SIDE**2 / SIZE**2
