"""The speed of runs: a table of shares of plain inference's speed."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from camtool.benchmark import runs
from camtool.benchmark.peers import grad_cam_of_batches, torchcam_of_batches
from camtool.benchmark.runs import Row, Subject, markdown
from tests.cli.fixtures import Run
from tests.runs.tiny import Tiny, config

NAMES = {"loader", "camtool", "camtool, folded", "pytorch-grad-cam", "torchcam"}


def test_a_run_is_measured_beside_the_others_and_the_table_is_printed_and_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "SUBJECTS", (Subject("tiny", str(config(tmp_path)), samples=20, size=(24, 24)),))
    page = tmp_path / "page.md"
    page.write_text("<!-- camtool benchmark runs: begin -->\n<!-- camtool benchmark runs: end -->\n")

    report = json.loads(run("benchmark", "--runs", "--quick", "--json", "--markdown", page).stdout)

    assert [(row["name"], row["samples"], row["workers"], row["decoding"]) for row in report["rows"]] == [
        ("tiny", 20, 0, True),
        ("tiny", 20, 0, False),
    ]
    for row in report["rows"]:
        assert row["plain"] > 0
        assert row["ratios"].keys() == NAMES
        assert all(ratio > 0 for ratio in row["ratios"].values())
        assert f"| tiny | 20 | {'yes' if row['decoding'] else 'no'} | 0 | {row['plain']:.1f} |" in page.read_text()


def test_rows_are_by_number_of_workers_and_without_decoding(tmp_path: Path) -> None:
    rows = runs.measured_rows(Subject("tiny", str(config(tmp_path)), samples=9, size=(24, 24)), rounds=2, workers=(1,))

    assert [(row.workers, row.decoding) for row in rows] == [(1, True), (0, False)]
    table = markdown([Row("a", 9, 0, True, 12.34, dict.fromkeys(NAMES, 0.956))], "a machine")
    assert table.endswith("| a | 9 | yes | 0 | 12.3 | 0.96 | 0.96 | 0.96 | 0.96 | 0.96 |")


@pytest.mark.parametrize("peer", [grad_cam_of_batches, torchcam_of_batches])
def test_weights_can_be_trained_while_the_peers_run_only(peer: Callable[..., Any]) -> None:
    model, maps = Tiny(), []
    model.body.requires_grad_(False)
    before = [parameter.requires_grad for parameter in model.parameters()]

    def of_batches() -> AbstractContextManager[Callable[[Tensor], Any]]:
        return kept(peer(model, model.body[2]), maps)

    with runs._peer(lambda: iter(torch.rand(2, 1, 3, 8, 8)), model, of_batches) as loop:
        assert all(parameter.requires_grad for parameter in model.parameters())
        loop()

    assert len(maps) == 2
    assert [parameter.requires_grad for parameter in model.parameters()] == before
    assert all(parameter.grad is None for parameter in model.parameters())


@contextmanager
def kept(peer: AbstractContextManager[Callable[[Tensor], Any]], maps: list[Any]) -> Iterator[Callable[[Tensor], Any]]:
    with peer as maps_of:
        yield lambda inputs: maps.append(maps_of(inputs))


def test_a_network_of_another_name_is_refused(run: Run) -> None:
    finished = run("benchmark", "--runs", "--filter", "vit")

    assert finished.exit_code == 2
    assert "expected a part of one of: EfficientNet-Lite0, ResNet-50" in finished.stderr
