"""`camtool bench-methods`: the table of methods by metrics, ranks worked by hand, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from camtool.cli.bench_methods import markdown_table
from camtool.evaluation import Metric
from camtool.evaluation.methods_table import MethodScores
from tests.cli.fixtures import ROOT, Run

CONFIG = ROOT / "configs/shapes/cnn_tiny_shapes.py"
COMMAND = ("bench-methods", CONFIG, "--random-weights", "--scenes", 8)


def row(mean: float | None) -> dict[str, Any]:
    return {"mean": mean, "low": mean and mean - 0.1, "high": mean and mean + 0.1}


def test_methods_are_scored_beside_baselines_and_the_table_goes_between_markers(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- camtool bench-methods cnn_tiny_shapes: begin -->\nold\n<!-- camtool bench-methods cnn_tiny_shapes: end -->\nb\n"
    )

    finished = run(*COMMAND, "--method", "gradcam", "rollout", "layercam", "--metrics", "iou", "ioa", "--markdown", page, "--json")

    entries = {entry["method"]: entry for entry in finished.report["methods"]}
    assert list(entries) == ["gradcam", "rollout", "layercam", "random", "center", "edges", "object", "background"]
    assert "No attention" in entries["rollout"]["reason"]
    for name in ("gradcam", "center"):
        scored = entries[name]["scores"]["iou"]
        assert 0 <= scored["low"] <= scored["mean"] <= scored["high"] <= 1
        assert scored["maps"] + scored["without_score"] == 8
        assert scored["without_score"] >= 1, "a scene without an object has no mask to compare with"
    assert entries["object"]["scores"]["iou"]["mean"] == pytest.approx(1, abs=0.02)
    assert entries["background"]["scores"]["iou"]["mean"] == pytest.approx(0, abs=0.02)
    text = page.read_text()
    assert text.startswith("a\n<!--")
    assert text.endswith("end -->\nb\n")
    assert "old" not in text
    assert "*center*, baseline" in text
    assert "Without maps of this network: `rollout`" in text


def test_mean_ranks_by_hand() -> None:
    metrics = [
        Metric("up", print, "map", "higher"),
        Metric("down", print, "map", "lower"),
        Metric("neither", print, "map", ""),
    ]
    found = [
        MethodScores("worst", "l", {"up": row(0.1), "down": row(None), "neither": row(0.0)}),  # places 3 and 3
        MethodScores("best", "l", {"up": row(0.9), "down": row(0.1), "neither": row(0.5)}),  # places 1 and 1.5
        MethodScores("middle", "l", {"up": row(0.5), "down": row(0.1), "neither": row(1.0)}),  # places 2 and 1.5
        MethodScores("random", "", {"up": row(1.0), "down": row(0.0), "neither": row(1.0)}, baseline=True),
        MethodScores("none", reason="Not defined."),
    ]

    title, _, *lines = markdown_table(found, metrics).splitlines()

    assert title == "**Of the map alone**"
    assert [line.split("|")[1].strip() for line in lines[2:6]] == ["`best`", "`middle`", "`worst`", "*random*, baseline"]
    assert [line.split("|")[3].strip() for line in lines[2:6]] == ["1.2", "1.8", "3.0", ""]
    assert lines[0] == "| method | layer | mean rank | up ↑ | down ↓ | neither |"
    assert lines[-1] == "Without maps of this network: `none`: Not defined."
    assert [cell.strip() for cell in lines[4].split("|")[4:6]] == ["0.100 [0.000, 0.200]", "-"]


def test_each_group_of_metrics_has_its_own_table_and_ranks() -> None:
    metrics = [
        Metric("of_mask", print, "mask", "higher"),
        Metric("of_network", print, "network", "lower"),
        Metric("m", print, "method", "lower"),
    ]
    found = [
        MethodScores("a", "l", {"of_mask": row(0.9), "of_network": row(0.9), "m": row(0.5)}),
        MethodScores("b", "l", {"of_mask": row(0.1), "of_network": row(0.1), "m": row(0.6)}),
        MethodScores("random", "", {"of_mask": row(0.1), "of_network": row(0.1), "m": row(None)}, baseline=True),
    ]

    masks, network, method = markdown_table(found, metrics).split("\n\n**")

    assert masks.index("`a`") < masks.index("`b`")
    assert network.index("`b`") < network.index("`a`")
    assert "random" in masks
    assert "random" not in method, "a baseline is no method that could be asked again"


WRONG: dict[str, tuple[tuple[Any, ...], str]] = {
    "no such method": ((*COMMAND, "--method", "gradcm"), "Unknown method 'gradcm'; closest: 'gradcam'"),
    "no such metric": ((*COMMAND, "--metrics", "iuo"), "No metric 'iuo'"),
    "no method with maps": ((*COMMAND, "--method", "rollout", "--metrics", "iou"), "No method has maps of this network"),
    "no page": ((*COMMAND, "--metrics", "iou", "--markdown", "none.md"), "Cannot read 'none.md'"),
    "no scenes": (("bench-methods", CONFIG, "--random-weights", "--scenes", 1), "--scenes"),
    "no weights": (("bench-methods", CONFIG, "--scenes", 4, "--method", "gradcam", "--metrics", "iou"), "checkpoint"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_trials(run: Run, tmp_path: Path, case: str) -> None:
    command, message = WRONG[case]

    finished = run(*command)

    assert finished.exit_code == 2, finished.stdout
    assert message in " ".join(finished.stderr.split())
    assert list(tmp_path.iterdir()) == []
