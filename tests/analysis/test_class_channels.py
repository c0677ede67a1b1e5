"""`camtool vis --select`: single pictures by the channels that matter to the explained class only."""

from pathlib import Path

import numpy as np
import pytest
import torch

from camtool import CAM
from camtool.analysis.class_channels import ClassChannels, selected
from camtool.analysis.importance import Importance
from camtool.analysis.importance_files import read_importance
from camtool.analysis.selection import selection_masks
from camtool.errors import CamtoolError, DataError, MethodError
from camtool.methods import Evidence, build_method
from tests.cli.fixtures import Run
from tests.runs import tiny

LAYER, CHANNELS = "body[3]", 6


def _importance(without: int | None = None) -> Importance:
    generator = np.random.default_rng(0)
    target = generator.normal(size=(tiny.CLASSES, CHANNELS))
    reasons = {}
    if without is not None:
        target[without], reasons[without] = np.nan, "no correctly predicted sample of this class"
    return Importance(np.nanmean(target, axis=0), target, np.array([2, 3, 4]), 9, left_out=0, wrong=0, reasons=reasons)


def _written(folder: Path, found: Importance, name: str = "gradcam_body-3") -> Path:
    for kind, text in found.csv(["first", "second", "third"]).items():
        (folder / f"{kind}_{name}.csv").write_text(text)
    return folder / f"Target_{name}.csv"


@pytest.mark.filterwarnings("ignore:gradcam, sample .* no positive evidence")
@pytest.mark.parametrize("select", ["diff_top:0.5", "top:0.34", "max", "reverse_diff_top:0.5", "freq:0.2", "index:1,4"])
def test_a_map_is_the_literal_sum_over_the_channels_of_its_own_class(tmp_path: Path, select: str) -> None:
    found, model = _importance(), tiny.Tiny().eval()
    inputs = torch.randn(2, 3, 16, 20, generator=torch.Generator().manual_seed(1))
    targets = [[0, 2], [1, 0]]
    (method,) = selected("gradcam", select, _written(tmp_path, found))

    raw = CAM(model, LAYER, method)(inputs, targets).raw[LAYER]

    mode, _, setting = select.partition(":")
    given = {"index": [1, 4]} if mode == "index" else {"ratio": float(setting or 1)}
    masks = torch.from_numpy(selection_masks(found, mode, **given)).float()  # type: ignore[arg-type]
    activations = model.body(inputs)
    for sample in range(2):
        for place, k in enumerate(targets[sample]):
            weights = model.head.weight[k] / activations[0, 0].numel() * masks[k]
            expected = (weights[:, None, None] * activations[sample]).sum(dim=0)
            torch.testing.assert_close(raw[sample, place], expected, rtol=1e-4, atol=1e-6)
    assert len(torch.unique(masks, dim=0)) > 1 or mode == "index"


def test_files_give_the_same_importance(tmp_path: Path) -> None:
    found = _importance(without=1)
    path = _written(tmp_path, found)
    for kind in ("Target", "Diff", "All"):
        read = read_importance(path.with_name(f"{kind}_gradcam_body-3.csv")).importance
        np.testing.assert_array_equal(read.target, found.target)
        np.testing.assert_array_equal(read.every, found.every)
        np.testing.assert_array_equal(read.samples, found.samples)
        assert (read.count, read.reasons) == (9, found.reasons)


@pytest.mark.parametrize("damage", ["empty", "columns", "short", "words", "other"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = _written(tmp_path, _importance())
    lines = path.read_text().splitlines()
    if damage == "other":
        (tmp_path / "All_gradcam_body-3.csv").write_text("class,name,samples,reason,0\nall,,9,,1.0\n")
    else:
        text = {
            "empty": [],
            "columns": ["a,b,c", *lines[1:]],
            "short": [*lines[:-1], "2,third"],
            "words": [*lines[:-1], "2,,x,,1,1,1,1,1,1"],
        }
        path.write_text("\n".join(text[damage]))
    with pytest.raises(DataError, match=r"cannot be read|expected those of one run"):
        read_importance(path)


def test_what_has_no_channels_of_its_class_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path, _importance(without=1))
    (method,) = selected("gradcam", "max", path)
    cam = CAM(tiny.Tiny().eval(), LAYER, method)
    with pytest.raises(DataError, match="Class 1 has no importance"):
        cam(torch.randn(1, 3, 8, 8), 1)
    with pytest.raises(MethodError, match="selected for 3 classes, got a target that is no class"):
        cam(torch.randn(1, 3, 8, 8), lambda scores: scores.sum())
    evidence = Evidence(torch.ones(1, 4, 2, 2), torch.ones(1, 4, 2, 2), lambda: torch.ones(1, 4), classes=[0])
    with pytest.raises(CamtoolError, match="mask of the layer's 4 channels, got one of 6"):
        ClassChannels(build_method("gradcam"), "max", lambda _: np.ones((3, CHANNELS))).contributions(evidence)
    with pytest.raises(MethodError, match="no sum over channels"):
        selected("eigencam", "index:0", None)


def test_the_whole_way_from_a_run_to_a_picture(run: Run, tmp_path: Path) -> None:
    config, data = tiny.config(tmp_path), tiny.pictures(tmp_path / "data", 9)
    assert run("run", config, "--data", data, "--out", "maps", "--target-layers", LAYER, "--importances").exit_code == 0
    table = next(path for path in run("analyze", "importance", "maps", "--all-samples", "--json").report["outputs"] if "Target" in path)
    scale = run("analyze", "ranges", "maps", "--json").report["outputs"][0]
    picture = min(data.rglob("*.png"))
    vis = ("vis", picture, config, "--target-layers", LAYER, "--target-category", "1")

    kept = ("--select", "diff_top:0.5", "--importance", table)
    report = run(*vis, *kept, "--normaliser", scale, "--save-raw", "kept.npz", "-o", "kept.png", "--json").report
    run(*vis, "--select", "reverse_diff_top:0.5", "--importance", table, "--save-raw", "rest.npz", "-o", "rest.png")
    run(*vis, "--normaliser", scale, "--save-raw", "whole.npz", "-o", "whole.png")

    assert report["settings"] == {"gradcam": {"select": "diff_top:0.5"}}
    raws = {}
    for name in ("kept", "rest", "whole"):
        with np.load(f"{name}.npz") as arrays:
            (key,) = [key for key in arrays.files if "raw" in key]
            raws[name] = arrays[key]
    np.testing.assert_allclose(raws["kept"] + raws["rest"], raws["whole"], rtol=1e-4, atol=1e-6)
    assert not np.allclose(raws["kept"], raws["whole"])
    assert Path("kept.png").read_bytes() != Path("whole.png").read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--select diff_top:0.3", "expected --importance FILE, a Target_….csv of 'camtool analyze importance'"),
        ("--select diff_tip:0.3 --importance FILE", "No selection 'diff_tip'; closest: 'diff_top'"),
        ("--select diff_top:x --importance FILE", "Expected a ratio behind 'diff_top'"),
        ("--select diff_top:0.01 --importance FILE", "keeps none"),
        ("--select top:2 --importance FILE", "between 0 and 1"),
        ("--select index:9", "Expected channels from 0 to 5, got 9"),
        ("--select index:", "Expected channels behind 'index'"),
        ("--importance FILE", "no effect without a selection"),
        ("--select max --importance FILE --method hirescam", "is of another method than 'hirescam'"),
        ("--select max --importance FILE --target-layers body[1]", "is of another layer than 'body[1]'"),
        ("--select max --importance FILE --target-layers body[3] body[1]", "is the importance of one layer"),
        ("--select max --importance nothing.csv", "is no importance"),
        ("--select max --importance Target_nothing.csv", "cannot be read: No such file"),
        ("--select max --importance FILE --method dff", "leave out --select"),
    ],
)
def test_a_mistake_is_one_line_and_no_picture(run: Run, tmp_path: Path, options: str, words: str) -> None:
    path = _written(tmp_path, _importance())
    (picture,) = tiny.pictures(tmp_path / "data", 1).rglob("*.png")
    given = options.replace("FILE", str(path), 1) if "--importance FILE" in options else options
    layers = () if "--target-layers" in given else ("--target-layers", LAYER)

    finished = run("vis", picture, tiny.config(tmp_path), *given.split(), *layers, "-o", "out.png")

    assert finished.exit_code == 2, finished.stdout
    assert words in finished.stderr
    assert len([line for line in finished.stderr.splitlines() if not line.startswith("Warning")]) == 1
    assert not Path("out.png").exists()
