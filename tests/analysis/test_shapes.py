"""What the analysis tells of networks that are trained on the shapes data; figures of camtool/analysis/README.md."""

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from camtool import CAM
from camtool.analysis.importance import importance
from camtool.analysis.kept_channels import scores_of_kept_channels
from camtool.analysis.selection import masks_of, selection_masks
from camtool.analysis.sources import only_source
from camtool.errors import CamtoolWarning
from camtool.store import Store
from camtool.store.schema import Row
from tests.analysis.shape_network import CHANNELS, CLASSES, LAYER, MARKED, Trained, trained
from tests.analysis.stores import write_store
from tests.analysis.test_digits import stated
from tests.cli.fixtures import Run, pixels


def _store(folder: Path, network: Trained, *, seen: bool) -> Store:
    """Return the store of the Grad-CAM maps of the predicted class, with the importances of channels, and write the pictures."""
    pictures, labels = (network.seen, network.seen_labels) if seen else (network.pictures, network.labels)
    cam = CAM(network.model, LAYER)
    cam.importances = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CamtoolWarning)  # maps without positive evidence are maps
        result = cam(pictures)
    (folder / "pictures").mkdir(parents=True)
    place = result.placement[LAYER]
    rows = []
    for number, picture in enumerate(pictures):
        values = (picture * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(values).save(folder / "pictures" / f"{number}.png")
        predicted = int(result.logits[number].argmax())
        rows.append(
            Row(
                number,
                f"{number}.png",
                method="gradcam",
                layer=LAYER,
                label=int(labels[number]),
                predicted=predicted,
                target=predicted,
                probability=float(result.logits[number].softmax(dim=0)[predicted]),
                logit=float(result.logits[number, predicted]),
                map=result.raw[LAYER][number],
                placement=(*place.scale, *place.offset),
                importances=result.importances[LAYER][number],
            )
        )
    return write_store(folder / "store", rows, class_names=list(CLASSES), root=str(folder / "pictures"))


@pytest.mark.slow
def test_a_few_features_keep_the_accuracy_on_the_shapes(tmp_path: Path) -> None:
    network = trained(watermark=False)
    found = importance(store := _store(tmp_path, network, seen=True), only_source(store))
    predicted = network.model(network.pictures).argmax(dim=1).tolist()
    ratios = (0.05, 0.1, 0.25)
    chosen = [masks_of(selection_masks(found, mode, ratio=ratio), predicted) for mode in ("top", "diff_top") for ratio in ratios]
    chosen.append(masks_of(selection_masks(found, "reverse_diff_top", ratio=0.25), predicted))
    widest = np.argsort(-np.abs(found.difference).max(axis=0))  # the same channels for every sample
    chosen += [np.tile(np.isin(np.arange(CHANNELS), widest[: int(r * CHANNELS)]).astype(float), (len(predicted), 1)) for r in ratios]

    kept = scores_of_kept_channels(network.model, LAYER, network.pictures, torch.from_numpy(np.stack(chosen, axis=1)).float())

    before, after = kept.accuracy(network.labels.tolist())
    print("accuracy", before, after)
    assert before > 0.75
    assert min(after[:3]) >= before - 0.02, "5 to 25 % keep the accuracy"
    assert min(after[3:6]) >= before - 0.1
    assert after[6] < before - 0.15, "the others do not"
    assert max(after[7:]) < before
    for row, figures in (("shapes: `top`", after[:3]), ("shapes: `diff_top`", after[3:6]), ("shapes: without", [after[6]])):
        assert [before, *figures] == pytest.approx(stated(row), abs=0.08)


@pytest.mark.slow
def test_a_watermark_that_a_trained_network_looks_at_is_a_cluster_with_its_share(run: Run, tmp_path: Path) -> None:
    network = trained(watermark=True)
    store = _store(tmp_path, network, seen=False)
    marked = set(np.flatnonzero(network.marked).tolist())

    report = run("analyze", "clusters", store.folder, "--json").report

    first = next(entry for entry in report["clusters"] if entry["name"] == MARKED and entry["cluster"] == 1)
    others = [entry["separation"] for entry in report["clusters"] if entry is not first and entry["separation"] is not None]
    of_class = sum(entry["maps"] for entry in report["clusters"] if entry["name"] == MARKED)
    print(first, max(others), of_class)
    (table,) = [path for path in report["outputs"] if path.endswith(f"class{CLASSES.index(MARKED)}.csv")]
    with open(table, encoding="utf-8") as file:
        members = {int(row["id"]) for row in csv.DictReader(file) if row["cluster"] == "1"}
    assert len(members & marked) >= 0.9 * len(members)
    assert len(members & marked) >= 0.9 * len(marked)
    assert first["share"] == pytest.approx(len(marked) / of_class, abs=0.05)
    assert first["separation"] > max(others)
    assert pixels(next(path for path in report["outputs"] if path.endswith(f"class{CLASSES.index(MARKED)}_1.png"))).std() > 5
