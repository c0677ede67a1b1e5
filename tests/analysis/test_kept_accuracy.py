"""`camtool analyze select`: a network run again with some channels of its target layer, on the pictures of a store."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from camtool.analysis.importance import importance
from camtool.analysis.selection import selection_masks
from camtool.analysis.sources import only_source
from camtool.io.images import read_picture
from camtool.store import open as open_store
from tests.cli.fixtures import Run
from tests.runs import tiny

COLOURS = ["black", "white", "red", "lime", "blue", "yellow", "magenta", "cyan", "gray", "#8000ff", "#ff8000", "cyan"]
"""Of the pictures; the network predicts each of its classes for some of them."""


@pytest.mark.parametrize("mode", ["diff_top", "max"])
def test_the_accuracy_is_that_of_a_literal_pass_for_each_picture(run: Run, tmp_path: Path, mode: str) -> None:
    config = tiny.config(tmp_path)
    data = tiny.pictures(tmp_path / "pictures", len(COLOURS))
    for path in data.glob("*/*.png"):
        Image.new("RGB", (tiny.SIZE, tiny.SIZE), COLOURS[int(path.stem)]).save(path)
    assert run("run", config, "--data", data, "--out", "store", "--method", "gradcam", "--importances").exit_code == 0
    store = open_store(tmp_path / "store")
    source = only_source(store)
    found = importance(store, source)
    network = tiny.explainer(tmp_path).network
    ratios = (0.2, 0.5) if mode == "diff_top" else (1.0,)

    arguments = ("--config", config, "--mode", mode, "--batch-size", "5", "--json")
    report = run("analyze", "select", "store", *arguments, *(("--ratio", *ratios) if mode == "diff_top" else ())).report

    for ratio, entry in zip(ratios, report["selections"], strict=True):
        masks = selection_masks(found, mode, ratio=ratio)
        before, after, channels, left_out = [], [], [], 0
        for row in store:
            mask = masks[row["predicted"]]
            if np.isnan(mask).any():
                left_out += 1
                continue
            with torch.no_grad():
                features = network.model.body(network.preprocess(read_picture(data / row["path"])))
                kept = features * torch.from_numpy(mask).float()[None, :, None, None]
                answers = [int(network.model.head(part.mean(dim=(2, 3))).argmax()) for part in (features, kept)]
            before.append(answers[0] == row["label"])
            after.append(answers[1] == row["label"])
            channels.append(mask.sum())
        assert len({row["predicted"] for row in store}) == 3
        assert left_out  # class 2 has no correct sample
        assert (entry["samples"], entry["left_out"]) == (len(before), left_out)
        assert (entry["accuracy"], entry["accuracy_kept"]) == pytest.approx((np.mean(before), np.mean(after)))
        assert entry["channels"] == pytest.approx(np.mean(channels))
    assert Path(report["outputs"][0]).name == f"select_{mode}_gradcam_{source.layer.replace('[', '-').replace(']', '')}.csv"


def test_mistakes_are_one_line(run: Run, tmp_path: Path) -> None:
    config = tiny.config(tmp_path)
    data = tiny.pictures(tmp_path / "pictures", 6)
    run("run", config, "--data", data, "--out", "store", "--method", "gradcam", "--importances")
    for arguments, words in (
        ((), "Expected --config CONFIG"),
        (("--config", config, "--all-samples", "--mode", "bottom"), "No selection 'bottom'"),
        (("--config", config, "--all-samples", "--ratio", "0.01"), "keeps none"),
        (("--config", config, "--all-samples", "--mode", "index", "--index", "9"), "channels from 0 to 5"),
        (("--config", config, "--all-samples", "--data", "nowhere", "--ratio", "0.5"), "nowhere"),
    ):
        finished = run("analyze", "select", "store", *arguments)
        assert finished.exit_code == 2, finished.stdout
        assert words in finished.stderr
        assert len(finished.stderr.strip().splitlines()) == 1, finished.stderr
