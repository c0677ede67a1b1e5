"""What metrics cost: a table in forward passes, whose contestants compute the same."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from camtool.benchmark import metric_costs, peers
from camtool.benchmark.metric_costs import FORWARDS, SUBJECTS, Material, Row, _material, markdown
from camtool.metrics import deletion_curves, road
from tests.cli.fixtures import Run

TINY = tuple(replace(subject, name=f"{subject.name}, tiny", network="tiny") for subject in SUBJECTS)
pytestmark = pytest.mark.filterwarnings("ignore")


def rows_of(material: Material) -> list[int]:
    """Return the list to which the network adds how many inputs it gets."""
    seen: list[int] = []
    material.model.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    return seen


def test_metrics_are_measured_and_the_table_is_printed_and_written(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_costs, "SUBJECTS", TINY)
    page = tmp_path / "page.md"
    page.write_text("<!-- camtool benchmark metrics: begin -->\n<!-- camtool benchmark metrics: end -->\n")

    report = json.loads(run("benchmark", "--metrics", "--quick", "--json", "--markdown", page).stdout)

    assert [list(row["ratios"]) for row in report["rows"]] == [
        ["solver", "camtool", "pytorch-grad-cam"],
        ["camtool", "torchcam", "Quantus"],
        ["camtool, 4 methods together", "one by one", "Quantus"],
    ]
    for row, subject in zip(report["rows"], TINY, strict=True):
        assert row["name"] == subject.name
        assert row["seconds"] > 0
        assert all(ratio > 0 for ratio in row["ratios"].values())
        assert f"| {subject.name} | 32x32 | {row['counted']} in {row['seconds']:.2f} s | " in page.read_text()


@pytest.mark.parametrize("subject", TINY, ids=lambda subject: subject.name)
def test_each_contestant_runs_as_many_forwards_as_are_counted(subject: metric_costs.Subject) -> None:
    material = _material(subject)
    measure = subject.measure(material)
    material.forwards(3)
    seen = rows_of(material)
    material.forwards(measure.counted)
    assert sum(seen) == measure.counted
    # What is run besides: the unaltered inputs once more for each metric, or curve; a peer's own maps.
    besides = {"solver": -measure.counted, peers.GRAD_CAM: measure.counted, "one by one": 3 * measure.counted, peers.QUANTUS: None}
    for name, contestant in measure.contestants.items():
        seen.clear()
        contestant()
        extra = besides.get(name, 2 * len(material.inputs))
        if extra is not None:
            expected = measure.counted_by.get(name, measure.counted) + extra
            assert abs(sum(seen) - expected) <= 4 * len(material.inputs), name


def test_the_peers_road_and_pixel_flipping_are_of_the_same_maps() -> None:
    material = _material(TINY[0])
    theirs = peers.grad_cam_road(material.model, material.inputs, material.maps, material.classes, [0.05, 0.25])
    ours = road(material.model, material.inputs, material.maps, material.classes, fractions=[0.05, 0.25])
    assert theirs == pytest.approx(ours, abs=1e-3)  # its noise
    black = material.inputs.amin()
    one = peers.quantus_pixel_flipping(material.model, material.inputs, material.maps, material.classes, 64)
    last = deletion_curves(material.model, material.inputs, material.maps, torch.tensor(material.classes), substrate=black).scores[:, -1]
    np.testing.assert_allclose(np.array(one)[:, -1], last, atol=1e-5)


def test_the_table_has_a_line_a_metric() -> None:
    row = Row("road", (8, 8), 14, 2.0, {"solver": 0.5, "camtool": 1.5}, "solver <= 1.00 forwards", 0.5, True)
    line = "| road | 8x8 | 14 in 2.00 s | solver 0.50; camtool 1.50 | solver <= 1.00 forwards | 0.50 | yes |"
    assert markdown([row], "a machine").endswith(line)
    assert markdown([replace(row, holds=False)], "a machine").endswith("| no |")


def test_goals_are_judged_by_the_seconds() -> None:
    road_of, areas_of, sensitivity_of = (subject.measure(_material(subject)) for subject in TINY)
    assert road_of.reached({"solver": 3.0, FORWARDS: 2.0}) == 1.5
    assert not road_of.holds(1.5)
    assert areas_of.reached({"camtool": 2.0, FORWARDS: 1.9}) == 0.95
    assert areas_of.holds(0.95)
    assert not areas_of.holds(0.89)
    assert sensitivity_of.reached({"camtool, 4 methods together": 1.0, "one by one": 4.0}) == 0.25


def test_a_metric_of_another_name_is_refused(run: Run) -> None:
    finished = run("benchmark", "--metrics", "--filter", "convnext")

    assert finished.exit_code == 2
    assert "expected a part of one of: road, ResNet-50, deletion and insertion, ResNet-50, max-sensitivity, ResNet-18" in finished.stderr
