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


COLOURED = """
from torch import nn


class Channels(nn.Module):
    '''Scores of colours: the mean of a channel each, red before green before blue; and those of two tasks.'''

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.dirac_(self.body.weight)

    def forward(self, pictures):
        means = self.body(pictures).mean(dim=(2, 3))
        return {"bright": means.sum(dim=1, keepdim=True).repeat(1, 2) - 0.5, "colour": means}
"""


def _coloured(folder: Path) -> Path:
    """Write a network of colours and its pictures: two red, three green and four blue ones, in folders by name; return its config."""
    (folder / "channels.py").write_text(COLOURED)
    config = folder / "config.py"
    model = "dict(type='camtool.TorchModel', factory='channels.py:Channels', with_weights=True, preprocess=dict(mean=0, std=1))"
    config.write_text(f"model = {model}\n")
    for place, (name, count) in enumerate((("0_red", 2), ("1_green", 3), ("2_blue", 4))):
        for number in range(count):
            path = folder / "pictures" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), tuple(180 + number if channel == place else 60 - number for channel in range(3))).save(path)
    return config


def test_each_sample_keeps_the_channels_of_its_own_class_and_the_named_output_answers(run: Run, tmp_path: Path) -> None:
    config = _coloured(tmp_path)
    made = ("--method", "gradcam", "--target-layers", "body", "--output", "colour", "--importances")
    assert run("run", config, "--data", "pictures", "--out", "store", *made).exit_code == 0

    def accuracy(mode: str) -> dict[str, float]:
        report = run("analyze", "select", "store", "--config", config, "--mode", mode, "--ratio", "0.34", "--json").report
        (entry,) = report["selections"]
        return {name: entry[name] for name in ("accuracy", "accuracy_kept", "channels", "samples")}

    assert accuracy("diff_top") == {"accuracy": 1.0, "accuracy_kept": 1.0, "channels": 1.0, "samples": 9}
    assert accuracy("top") == {"accuracy": 1.0, "accuracy_kept": 1.0, "channels": 1.0, "samples": 9}
    assert accuracy("reverse_diff_top") == {"accuracy": 1.0, "accuracy_kept": 0.0, "channels": 2.0, "samples": 9}
