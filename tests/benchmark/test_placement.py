"""The table of where maps lie: its measures by hand, occlusion maps, and one row, of a network trained for an instant."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool.benchmark import placement as room
from camtool.benchmark.placement import PATCH, measure, occlusion_map
from camtool.config.loading import load_config
from camtool.models import load_network
from tests.cli.fixtures import Run


def test_the_measures_by_hand() -> None:
    maps, objects = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4, dtype=torch.bool)
    maps[0, 1, 1], maps[0, 3, 3] = 3, 1  # centroid (1.5, 1.5); the second map is empty
    objects[:, :2, 1:3] = True  # centroid (0.5, 1.5), a quarter of the picture
    found = measure(maps, objects)
    assert found.aside == pytest.approx((1.0, 0.0))
    assert found.energy == pytest.approx((0.75 / 0.25 + 0) / 2)
    assert found.pointing == 0.5


def test_an_occlusion_map_is_highest_where_hiding_costs_the_most() -> None:
    class Corner(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            return pictures[:, :, 100:110, 20:30].sum(dim=(1, 2, 3)).unsqueeze(1)

    drops = occlusion_map(Corner(), torch.ones(3, 144, 144), 0)
    row, column = divmod(int(drops.argmax()), 144)
    assert abs(row - 105) < PATCH
    assert abs(column - 25) < PATCH
    assert drops[0, 143] == 0


def test_a_row_of_a_trained_network_is_printed_and_written(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SCENES", 10)
    network = load_network(load_config("cnn_tiny_shapes"), random_weights=True)
    weights = tmp_path / "weights/cnn_tiny_shapes/final.pth"
    weights.parent.mkdir(parents=True)
    torch.save(network.model.state_dict(), weights)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- camtool benchmark placement: begin -->\n<!-- camtool benchmark placement: end -->\nafter\n")
    words = ("benchmark", "--placement", "--filter", "CNN", "--checkpoints", tmp_path / "weights")
    report: dict[str, Any] = run(*words, "--json").report
    (row,) = report["rows"]
    assert set(row["measures"]) == {"even", "arithmetic", "measured"}
    finished = run(*words, "--markdown", page)
    assert finished.exit_code == 0, finished.stderr
    assert "| `cnn_tiny_shapes` | gradcam |" in finished.stdout
    assert finished.stdout.strip() in page.read_text()
    assert json.dumps(row["places"]["even"]) == '"pixel = 8 * index + 3.5 (even)"'


def test_a_network_of_another_name_is_refused(run: Run) -> None:
    finished = run("benchmark", "--placement", "--filter", "yolo")
    assert finished.exit_code == 2
    assert "No network has 'yolo' in its name; expected a part of one of: cnn_tiny_shapes" in finished.stderr
