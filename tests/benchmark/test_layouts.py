"""The cost of measuring layouts: a table in forward passes."""

import json
from pathlib import Path

import pytest

from camtool.benchmark import layouts
from camtool.benchmark.layouts import Subject, VideoTransformer
from tests.cli.fixtures import Run

TINY = Subject("tiny", lambda: VideoTransformer(width=16, depth=2, heads=2, tokens=16), "encoder.layers[1].norm1", (8, 32, 32))


def test_a_network_is_measured_and_the_table_is_printed_and_written(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "SUBJECTS", (TINY,))
    page = tmp_path / "page.md"
    page.write_text("<!-- camtool benchmark layouts: begin -->\n<!-- camtool benchmark layouts: end -->\n")

    report = json.loads(run("benchmark", "--layouts", "--json", "--markdown", page).stdout)

    (row,) = report["rows"]
    assert (row["name"], row["size"]) == ("tiny", [8, 32, 32])
    assert row["layer"] > 0
    assert f"| tiny | 8x32x32 | {row['seconds']:.2f} s | {row['layer']:.1f} | {row['every_layer']:.1f} |" in page.read_text()


def test_a_network_of_another_name_is_refused(run: Run) -> None:
    finished = run("benchmark", "--layouts", "--filter", "resnet")

    assert finished.exit_code == 2
    assert "expected a part of one of: vit_b_16, VideoMAE-B, mvit_v2_s" in finished.stderr
