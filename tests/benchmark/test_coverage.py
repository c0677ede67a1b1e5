"""Every backbone of the zoo gives a map with no flags at all, and the table of configs/README.md says what was measured here."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from camtool.benchmark import coverage
from camtool.benchmark.backbones import BACKBONES, SIZES, WITHOUT_MAP, Example
from camtool.benchmark.coverage import FAILED, OK, REFUSED, BackboneResult, markdown, markdown_row, sweep
from camtool.cli.sweep import MARKERS

README = (Path(__file__).resolve().parents[2] / "configs/README.md").read_text(encoding="utf-8")
TABLE = README.partition(MARKERS[0])[2].partition(MARKERS[1])[0]
ROWS = {line.split(" | ")[0].removeprefix("| "): line for line in TABLE.splitlines() if line.startswith("| ")}


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_gives_a_map_wherever_it_runs_and_the_readme_says_which(name: str, full_sweep: bool) -> None:
    measured = list(sweep(name, BACKBONES[name], narrow=not full_sweep))

    assert [one.size for one in measured] == list(BACKBONES[name].sizes)
    assert [one.words for one in measured if one.status == FAILED] == []
    assert any(one.status == OK for one in measured)
    assert {one.layer for one in measured if one.status == OK} == {next(one.layer for one in measured if one.status == OK)}
    assert ROWS[name] == markdown_row(measured)


def test_the_readme_has_every_backbone_and_every_reason() -> None:
    assert list(ROWS) == ["backbone", *BACKBONES]
    for reason, names in WITHOUT_MAP.items():
        assert f"- {', '.join(names)}: {reason}" in TABLE


def _network(monkeypatch: pytest.MonkeyPatch, model: nn.Module) -> list[BackboneResult]:
    """Sweep a network of one's own, as if it were the zoo's."""
    monkeypatch.setattr(coverage, "load_network", lambda *_, **__: type("Network", (), {"model": model.eval()}))
    return list(sweep("ResNet", BACKBONES["ResNet"]))


class Constant(nn.Module):
    """A map with the same value everywhere, but for rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 32, stride=32), nn.Linear(4, 2)
        nn.init.constant_(self.conv.weight, 1e-8)
        nn.init.ones_(self.conv.bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(inputs).mean((2, 3)))


def test_a_map_that_is_the_same_everywhere_is_no_map(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = _network(monkeypatch, Constant())
    assert [(one.status, one.words) for one in measured] == [(FAILED, "the map is constant")] * 2


class Choosy(nn.Module):
    """Refuses what is not square; gives no layer with positions where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 224 * 224, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.fc(inputs.flatten(1))


def test_what_the_network_refuses_has_its_own_words_and_what_camtool_refuses_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    square, oblong = _network(monkeypatch, Choosy())
    assert square.status == FAILED
    assert square.words.startswith("LayerError: No target layer can be derived")
    assert oblong.status == REFUSED
    assert "mat1 and mat2 shapes cannot be multiplied" in oblong.words
    assert oblong.layer == ""


def test_a_config_that_does_not_build_is_a_failure() -> None:
    (measured, _) = sweep("ResNet", Example("resnet/resnet18_8xb32_in1k", {"backbone.depth": 17}))
    assert measured.status == FAILED
    assert "invalid depth 17" in measured.words


def test_a_row_says_the_layer_where_there_is_a_map_and_where_the_network_refuses() -> None:
    def one(size: tuple[int, int], status: str) -> BackboneResult:
        layer = "backbone.a[0]" if status == OK else ""
        return BackboneResult(
            "A", "a/a", size, status, "", layer, "NLC" if layer else "", 2 if layer else 0, 1.0, "replay", 0.1, "measured"
        )

    both = [one(SIZES[0], OK), one(SIZES[1], REFUSED)]
    own = [*(one(size, REFUSED) for size in SIZES), one((32, 32), OK)]
    assert markdown_row(both) == "| A | `backbone.a[0]` | NLC + 2 | measured | yes | the network refuses | replay |"
    assert markdown_row(own) == "| A | `backbone.a[0]` at 32x32 | NLC + 2 | measured | the network refuses | the network refuses | replay |"
    assert markdown(both).splitlines()[:3] == [
        "| backbone | default target layer | axes + extra tokens | known by | 224x224 | 256x320 | perturbed by |",
        "|---|---|---|---|---|---|---|",
        markdown_row(both),
    ]
    assert re.search(r"^- CSPNet: the base class", markdown(both), re.MULTILINE)
