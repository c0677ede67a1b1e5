"""`camtool methods`: the registry, on the screen, as JSON and in the README of the methods."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from camtool.cli.methods import MARKERS, describe_methods, markdown_table
from camtool.functional import spatial_mean
from camtool.methods import GradientMethod, build_method, method_names, reads_layers
from camtool.registry import METHODS
from camtool.types import Maps, Weights
from tests.cli.fixtures import ROOT, Run

README = ROOT / "camtool/methods/README.md"
BEGIN, END = MARKERS


@pytest.fixture
def own() -> Iterator[str]:
    """A user's own method, from outside of camtool."""

    class Own(GradientMethod):
        """Weights each channel by the mean of its gradients' sizes."""

        name = "ownmethod"
        paper = "none"

        def weights(self, activations: Maps, gradients: Maps) -> Weights:
            return spatial_mean(gradients.abs())

    METHODS.register_module(module=Own)
    yield "ownmethod"
    METHODS.module_dict.pop("Own")


def test_the_table_lists_every_method_by_family_with_its_cost(run: Run) -> None:
    finished = run("methods")

    assert finished.exit_code == 0
    heading, *lines = finished.stdout.partition("\n\n")[0].splitlines()
    rows = [line for line in lines if not line.startswith(" ")]  # the others go on with a long summary
    assert heading.split("  ")[0] == "method"
    assert sorted(row.split()[0] for row in rows) == method_names()
    families = [row.split()[1] for row in rows]
    assert families == sorted(families)
    scorecam = next(row for row in rows if row.startswith("scorecam"))
    assert [cell.strip() for cell in scorecam.split("  ") if cell.strip()][:5] == [
        "scorecam",
        "perturbation",
        "C forwards",
        "yes",
        "arXiv:1910.01279",
    ]


def test_json_has_family_and_cost_of_each(run: Run) -> None:
    listed = {one["name"]: one for one in run("methods", "--json").report["methods"]}

    assert sorted(listed) == method_names()
    expected = {
        "gradcam": ("gradient", "1 forward + tail backward"),
        "eigencam": ("activation", "1 forward"),
        "rollout": ("attention", "1 forward + tail backward"),
        "ablationcam": ("perturbation", "C tails"),
        "fullgrad": ("input", "1 forward + 1 backward"),
    }
    assert {name: (listed[name]["family"], listed[name]["cost"]) for name in expected} == expected
    assert not listed["fem"]["class_discriminative"]


def test_a_users_own_method_is_listed_last_and_kept_out_of_the_readme(run: Run, own: str) -> None:
    last = run("methods", "--json").report["methods"][-1]

    assert (last["name"], last["family"], last["cost"]) == (own, "own", "1 forward + tail backward")
    assert own not in markdown_table(describe_methods())


def test_the_readmes_table_is_up_to_date() -> None:
    content = README.read_text(encoding="utf-8")

    assert content.partition(BEGIN)[2].partition(END)[0].strip() == markdown_table(describe_methods()), (
        "write it anew: camtool methods --markdown camtool/methods/README.md"
    )


def test_the_readmes_families_have_a_target_layer_and_a_class_where_it_says_so() -> None:
    by_hand = README.read_text(encoding="utf-8").partition(BEGIN)[0]
    rows = [line.strip("| ").split(" | ") for line in by_hand.splitlines() if line.startswith("| `")]
    families = {row[0].strip("`"): row[2:] for row in rows if len(row) == 4}

    assert families.keys() == {one["family"] for one in describe_methods()}
    for one in describe_methods():
        layer, depends = families[one["family"]]
        assert _applies(layer, one["name"]) == reads_layers(build_method(one["name"])), one["name"]
        assert _applies(depends, one["name"]) == one["class_discriminative"], one["name"]


def _applies(cell: str, name: str) -> bool:
    """Return what "none, but for `a`", or "yes", says of a method."""
    return cell.startswith("no") == (f"`{name}`" in cell)


def test_markdown_replaces_what_stands_between_the_markers_and_nothing_else(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")

    finished = run("methods", "--markdown", file)

    assert (finished.exit_code, finished.stdout) == (0, "")
    content = file.read_text(encoding="utf-8")
    assert content.startswith(f"before\n{BEGIN}\n")
    assert content.endswith(f"{END}\nafter\n")
    assert "old" not in content
    assert "| `gradcam` | gradient | 1 forward + tail backward | yes | [arXiv:1610.02391](https://arxiv.org/abs/1610.02391) |" in content


def test_a_file_without_the_markers_is_refused_and_left_as_it_was(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("no markers", encoding="utf-8")

    finished = run("methods", "--markdown", file)

    assert finished.exit_code == 2
    assert f"must have the line '{BEGIN}' once" in finished.stderr
    assert file.read_text(encoding="utf-8") == "no markers"
