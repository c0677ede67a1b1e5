"""Faster copies beside the network's own forward pass: the table, and that both compute the network's scores."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from camtool.benchmark import speeds
from camtool.benchmark.speeds import SPEEDS, Row, Subject, markdown, own_forward
from tests.cli.fixtures import Run


def resnet() -> nn.Module:
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5)


TINY = Subject("tiny", resnet, "layer3", (32, 32), batch=2)


def test_the_table_is_printed_and_written(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speeds, "SUBJECTS", (TINY,))
    page = tmp_path / "page.md"
    page.write_text("<!-- camtool benchmark speeds: begin -->\n<!-- camtool benchmark speeds: end -->\n")

    (row,) = json.loads(run("benchmark", "--speeds", "--quick", "--json", "--markdown", page).stdout)["rows"]

    assert (row["name"], row["batch"], row["speed"]) == ("tiny", 2, SPEEDS[0])
    assert min(row["own"], row["maps"], row["ratio"]) > 0
    assert f"| tiny, 2 | `dict(fold=True, channels_last=True)` | {row['own']:.2f} | " in page.read_text()


def test_ratios_are_of_the_same_round(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([1.0, 2.0, 3.0, 2.0, 2.0, 8.0, 1.0, 4.0, 4.0])  # plain, own, gradcam of three rounds
    monkeypatch.setattr(speeds, "seconds", lambda _: next(taken))
    (row,) = speeds.measured_rows(TINY, 3, [{"fold": True}])
    assert row == Row("tiny", 2, {"fold": True}, own=2.0, maps=4.0, ratio=1.5)
    assert markdown([row], "a machine").endswith("| tiny, 2 | `dict(fold=True)` | 2.00 | 4.00 | 1.50 |")


@pytest.mark.parametrize(("speed", "tolerance"), [(SPEEDS[0], 1e-4), (SPEEDS[1], 1e-4), (SPEEDS[2], 0.05)])
def test_the_own_pass_gives_the_networks_scores(speed: dict[str, Any], tolerance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    torch.manual_seed(0)
    model, inputs = resnet().eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(inputs)
    found = own_forward(model, inputs, speed)()
    assert (found.float() - expected).abs().max() <= tolerance * expected.abs().max()
    assert not torch.equal(found, expected) or "compile" in speed, "nothing was changed"
