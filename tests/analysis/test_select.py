"""`camtool analyze select`: channels by class, and the network with these only."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from camtool.cli.main import app
from tests.runs import tiny

LAYER = "body[3]"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny.config(tmp_path)
    tiny.pictures(tmp_path / "data", 24)
    line = f"run tiny.py --data data --out maps --workers 0 --importances --method gradcam --target-layers {LAYER}"
    assert CliRunner().invoke(app, line.split()).exit_code == 0
    return tmp_path


def typed(line: str) -> Result:
    return CliRunner().invoke(app, ["analyze", "select", *line.split()])


def test_the_network_is_run_with_the_channels_of_its_predicted_class(folder: Path) -> None:
    result = typed("maps --mode top --ratio 0.5 --all-samples --config tiny.py --json")
    assert result.exit_code == 0, result.output
    (entry,) = json.loads(result.stdout)["selection"]
    (path,) = (folder / "maps-analysis/im").glob("selection_top_*.csv")
    masks = {int(row["class"]): [float(row[str(k)]) for k in range(6)] for row in csv.DictReader(path.open())}
    assert all(sum(mask) in (3, 0) or np.isnan(mask).all() for mask in masks.values())
    model, right, still, same = tiny.Tiny().eval(), [], [], []
    for file in sorted((folder / "data").rglob("*.png")):
        inputs = (torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None] / 255 - 0.5) / 0.25
        label = ["first", "second", "third"].index(file.parent.name)
        with torch.no_grad():
            activations = model.body(inputs)
            before = int(model.head(activations.mean(dim=(2, 3))).argmax())
            kept = activations * torch.tensor(masks[before]).view(1, 6, 1, 1)
            after = int(model.head(kept.mean(dim=(2, 3))).argmax())
        right.append(before == label)
        still.append(after == label)
        same.append(before == after)
    assert entry["samples"] == 24
    assert entry["accuracy_before"] == pytest.approx(np.mean(right))
    assert entry["accuracy_after"] == pytest.approx(np.mean(still))
    assert entry["same_answer"] == pytest.approx(np.mean(same))


WRONG = {
    "maps --mode best": "No selection 'best'",
    "maps --mode top --ratio 2": "between 0 and 1",
    "maps --mode top --ratio 0.01": "keeps none",
    "maps --mode index --index 9": "Expected channels from 0 to 5",
    "maps --mode index": "got none",
    "data": "is no store",
    "maps --out maps/x": "is in the store",
    "maps --mode all --config no.py": "no.py",
    "maps --mode all --config tiny.py --data nowhere": "nowhere",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_line_is_one_error_and_leaves_nothing(folder: Path, line: str) -> None:
    before = sorted(folder.rglob("*"))
    result = typed(line if "index" in line or "ratio" in line or "best" in line else f"{line} --all-samples")
    assert result.exit_code == 2, result.output
    assert WRONG[line] in result.stderr
    assert sorted(folder.rglob("*")) == before
