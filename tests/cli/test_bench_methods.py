"""`camtool bench-methods`: the table of methods by metrics, ranks worked by hand, and what is refused."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from camtool.cli.methods import describe_methods
from camtool.cli.methods_tables import ranks_table, scores_tables, without_maps
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
        MethodScores("none", reason="Not defined for this network: 'none'. No attention."),
        MethodScores("neither", reason="Not defined for this network: 'neither'. No attention."),
    ]

    title, _, *lines = scores_tables(found, metrics).splitlines()

    assert title == "**Of the map alone**"
    assert [line.split("|")[1].strip() for line in lines[2:6]] == ["`best`", "`middle`", "`worst`", "*random*, baseline"]
    assert [line.split("|")[3].strip() for line in lines[2:6]] == ["1.2", "1.8", "3.0", ""]
    assert lines[0] == "| method | layer | mean rank | up ↑ | down ↓ | neither |"
    assert without_maps(found) == "Without maps of this network: `none`, `neither`: Not defined for this network. No attention."
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

    masks, network, method = scores_tables(found, metrics).split("\n\n**")

    assert masks.index("`a`") < masks.index("`b`")
    assert network.index("`b`") < network.index("`a`")
    assert "random" in masks
    assert "random" not in method, "a baseline is no method that could be asked again"


def test_ranks_of_groups_by_hand() -> None:
    metrics = [Metric("energy", print, "mask", "higher"), Metric("deletion", print, "network", "lower")]
    metrics += [Metric("max-sensitivity", print, "method", "lower")]
    by_method = {
        "a": {"energy": {0: 0.9, 1: 0.8}, "deletion": {0: 0.1, 1: 0.1}, "max-sensitivity": {0: 0.5, 1: 0.5}},
        "b": {"energy": {0: 0.2, 1: 0.1}, "deletion": {0: 0.3, 1: 0.4}, "max-sensitivity": {0: 0.1}},
        "costly": {"energy": {0: 0.05, 1: 0.05}, "deletion": {0: 0.2, 1: 0.2}},
        "center": {"energy": {0: 0.1, 1: 0.1}, "deletion": {0: 0.35, 1: 0.35}},
    }
    asked = {"a": 2, "b": 1}
    scores = {name: {metric: row(sum(of.values()) / len(of)) for metric, of in known.items()} for name, known in by_method.items()}
    found = [MethodScores(name, "l", scores[name], known, asked.get(name, 0), name == "center") for name, known in by_method.items()]
    found += [MethodScores("object", scores={"energy": row(1.0)}, by_scene={"energy": {0: 1.0, 1: 1.0}}, baseline=True)]

    heading, _, *lines = ranks_table(found, metrics, scenes=2).splitlines()

    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines}
    assert heading == "| method | localisation | energy ↑ | faithfulness | robustness | max-sensitivity ↓ | beats baselines |"
    assert list(cells) == ["`a`", "`b`", "`costly`", "*center*, baseline", "*object*, the truth"]
    assert cells["`a`"] == ["1.0 [1.0, 1.0]", "0.85 [0.75, 0.95]", "1.0 [1.0, 1.0]", "2.0 [1.0, 2.0]", "0.50 [0.40, 0.60]", "2 of 2"]
    assert cells["`b`"][:3] == ["2.0 [2.0, 2.0]", "0.15 [0.05, 0.25]", "3.0 [3.0, 3.0]"]
    assert cells["`b`"][3:] == ["1.0 [1.0, 2.0]", "0.10 [0.00, 0.20] (1)", "0 of 2"], "its lead in energy is none in a resample of scene 1"
    assert cells["`costly`"][3:] == ["-", "-", "1 of 2"], "what is not asked again has no place"
    assert cells["*center*, baseline"][0] == cells["*center*, baseline"][-1] == ""


def test_a_product_is_one_method_and_can_be_asked_again(run: Run) -> None:
    finished = run(*COMMAND, "--method", "guidedgradcam", "gradcam", "--metrics", "energy", "max-sensitivity", "--json")

    entries = finished.report["methods"]
    assert [entry["method"] for entry in entries][:3] == ["guidedgradcam", "gradcam", "random"], "its factors are methods of their own"
    assert entries[0]["scores"]["max-sensitivity"]["mean"] > 0
    assert entries[0]["scores"]["max-sensitivity"]["mean"] != entries[1]["scores"]["max-sensitivity"]["mean"]
    assert ", sample " not in finished.stderr, "what is said of a map of a changed input is nothing to the user"


def test_costly_methods_are_asked_again_on_fewer_scenes_or_not_at_all(run: Run) -> None:
    chosen = ("--method", "gradcam", "integratedgradients", "occlusion", "--metrics", "energy", "adcc", "--passes", 6 * 51)

    found = {entry["method"]: entry for entry in run(*COMMAND, *chosen, "--json").report["methods"]}

    assert {name: found[name]["asked_again"] for name in chosen[1:4]} == {"gradcam": 8, "integratedgradients": 6, "occlusion": 0}
    assert found["integratedgradients"]["scores"]["adcc"]["maps"] == 6
    assert "adcc" not in found["occlusion"]["scores"]
    for name in chosen[1:4]:
        energy = found[name]["scores"]["energy"]
        assert energy["maps"] + energy["without_score"] == 8, name


@pytest.mark.parametrize(("name", "positions"), [("cnn_tiny_signals", 192), ("conv1d_tiny_signals", 192), ("cnn_tiny_volumes", 32**3)])
def test_scenes_are_those_of_the_configs_rank(run: Run, name: str, positions: int) -> None:
    chosen = ("--method", "gradcam", "--metrics", "iou", "energy", "complexity")

    finished = run("bench-methods", ROOT / f"configs/shapes/{name}.py", "--random-weights", "--scenes", 5, *chosen, "--json")

    entries = {entry["method"]: entry["scores"] for entry in finished.report["methods"]}
    assert entries["gradcam"]["iou"]["maps"] == 4  # the third has no object
    assert entries["object"]["iou"]["mean"] == 1
    assert entries["object"]["energy"]["mean"] == 1
    assert entries["background"]["iou"]["mean"] == 0
    assert 0.9 * math.log(positions) < entries["random"]["complexity"]["mean"] < math.log(positions), "an entropy over all positions"


def test_scenes_of_another_rank_than_the_networks_are_refused(run: Run, tmp_path: Path) -> None:
    """A picture one pixel wide is no signal, unless the config says so."""
    (tmp_path / "own.py").write_text(f"_base_ = '{ROOT}/configs/shapes/cnn_tiny_signals.py'\ninput = dict(_delete_=True, kind='image')\n")

    finished = run("bench-methods", "own.py", "--random-weights", "--scenes", 5, "--method", "gradcam", "--metrics", "iou")

    assert finished.exit_code == 2
    assert "Expected scenes with rank=2 for a network that takes images, got rank=1" in " ".join(finished.stderr.split())


def test_the_tables_of_the_readme_have_every_method_and_what_they_were_made_with() -> None:
    page = (ROOT / "camtool/metrics/README.md").read_text(encoding="utf-8")
    tables = re.findall(r"<!-- camtool bench-methods (\w+): begin -->\n(.*?)\n<!-- camtool bench-methods \1: end -->", page, re.DOTALL)
    # A wrapper's maps are called after what it wraps: finer:gradcam.
    own = {entry["name"] for entry in describe_methods() if entry["family"] != "own"}
    assert tables
    for name, table in tables:
        ranked, _, missing = table.partition("Without maps of this network")
        with_maps = {method.partition(":")[0] for method in re.findall(r"^\| `(.+?)` \|", ranked, re.MULTILINE)}
        without = set(re.findall(r"`([\w+]+)`[,:]", missing))
        assert with_maps | without == own, f"{name}: make it again by 'camtool bench-methods'"
        assert not with_maps & without
        assert (ROOT / f"configs/shapes/{name}.py").is_file()
        assert f"`camtool bench-methods configs/shapes/{name}.py CHECKPOINT --scenes" in table
        assert re.findall(r"^\| \*(\w+)\*,", ranked, re.MULTILINE) == ["random", "center", "edges", "object", "background"]


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
