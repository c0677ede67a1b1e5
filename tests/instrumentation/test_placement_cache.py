"""Measured placements on disk: kept for a checkpoint, a network and an input size; whatever is wrong with a file, in words."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from camtool.errors import CamtoolWarning
from camtool.instrumentation import placement_cache
from camtool.instrumentation.inputs import find_inputs
from camtool.instrumentation.placements import find_placements
from camtool.placement import Placement, build_placement
from tests.networks import ByShape

DIGEST = "ab" * 32
SIZE = (64, 64)
PLACE = Placement((8.0, 8.0), (0.0, -0.5), "measured")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMTOOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/placements"


class Counted(nn.Sequential):
    """A network that counts its forward passes."""

    def __init__(self, padding: int = 1) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(3, 4, 3, stride=8, padding=padding))
        self.passes = 0

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        return super().forward(pictures)


def placements_of(model: Counted, digest: str | None = DIGEST, size: int = 64) -> Any:
    setting = replace(build_placement("measured"), digest=digest)
    inputs = find_inputs(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1)))

    return find_placements(setting, model, inputs, {"0": model[0]}, {}, ByShape())


def test_a_second_process_measures_nothing(folder: Path) -> None:
    first, second = Counted(), Counted()
    found = placements_of(first)
    assert first.passes > 0
    assert placements_of(second) == found
    assert second.passes == 0
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize(
    "change",
    [{"digest": "cd" * 32}, {"size": 32}, {"model": {"padding": 0}}, {"digest": None}],
    ids=["weights", "size", "network", "no file"],
)
def test_other_weights_sizes_or_networks_are_measured_anew(folder: Path, change: dict[str, Any]) -> None:
    placements_of(Counted())
    other = Counted(**change.pop("model", {}))
    placements_of(other, **change)
    assert other.passes > 0


def test_sizes_and_layers_stand_beside_each_other(folder: Path) -> None:
    placement_cache.write_placements("k-1", SIZE, {"a": PLACE, "b": Placement.even((8, 8), SIZE, "one cell")})
    placement_cache.write_placements("k-1", (32, 32), {"a": Placement((4.0, 4.0), (0.0, 0.0), "measured")})
    assert placement_cache.read_placements("k-1", SIZE) == {"a": PLACE, "b": Placement((8.0, 8.0), (3.5, 3.5), "even: one cell")}
    assert list(placement_cache.read_placements("k-1", (32, 32))) == ["a"]
    assert placement_cache.read_placements("k-2", SIZE) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b'{"version": 1, "key": "k", "placements": [{"size": [64, 64]}]}',
        b'{"version": 1, "key": "k", "placements": 3}',
        json.dumps(
            {"version": 1, "key": "k", "placements": [{"size": [64, 64], "layer": "0", "scale": [0, 8], "offset": [0, 0], "source": ""}]}
        ).encode(),
        json.dumps(
            {"version": 1, "key": "k", "placements": [{"size": [64, 64], "layer": "0", "scale": [8], "offset": [0], "source": ""}]}
        ).encode(),
    ],
)
def test_a_file_that_cannot_be_read_is_ignored_in_words_and_replaced(folder: Path, content: bytes) -> None:
    found = placements_of(Counted())
    (path,) = folder.iterdir()
    path.write_bytes(content)
    model = Counted()
    with pytest.warns(
        CamtoolWarning, match=r"is no file of kept placements \(\w+\); expected one that camtool wrote\. It is measured anew"
    ):
        assert placements_of(model) == found
    assert model.passes > 0
    again = Counted()
    assert placements_of(again) == found
    assert again.passes == 0


def test_a_file_of_another_version_is_measured_anew_in_silence(folder: Path) -> None:
    placements_of(Counted())
    (path,) = folder.iterdir()
    path.write_text(path.read_text().replace('"version": 1', '"version": 0'))
    model = Counted()
    placements_of(model)
    assert model.passes > 0


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CAMTOOL_CACHE", str(tmp_path / "file"))
    with pytest.warns(CamtoolWarning, match=r"Measured placements are not kept: .* Or set CAMTOOL_CACHE"):
        placements_of(Counted())


def test_the_folder_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CAMTOOL_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "standard"))
    assert placement_cache.cache_folder() == tmp_path / "own/placements"
    monkeypatch.delenv("CAMTOOL_CACHE")
    assert placement_cache.cache_folder() == tmp_path / "standard/camtool/placements"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert placement_cache.cache_folder().is_relative_to(Path.home())


def test_clear_removes_what_is_kept_and_nothing_else(folder: Path) -> None:
    placement_cache.write_placements("k-1", SIZE, {"a": PLACE})
    placement_cache.write_placements("k-2", SIZE, {"a": PLACE})
    (folder / "notes.txt").touch()
    assert placement_cache.clear() == 2
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert placement_cache.clear() == 0
