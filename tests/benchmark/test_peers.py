"""The peers stand behind one file, and are not needed until a benchmark runs."""

import ast
import sys
from pathlib import Path

import pytest

from camtool.benchmark.peers import check_installed, check_metrics_installed
from camtool.errors import CamtoolError

PACKAGE = Path(__file__).resolve().parents[2] / "camtool"


def test_the_peers_are_imported_in_one_file() -> None:
    importing = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] in ("pytorch_grad_cam", "torchcam", "quantus") for name in names):
                importing.add(str(path.relative_to(PACKAGE)))
    assert importing == {"benchmark/peers.py"}


@pytest.mark.parametrize("missing", ["pytorch_grad_cam", "torchcam"])
def test_without_a_peer_the_error_names_the_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(CamtoolError, match=r"needs the packages grad-cam and torchcam: .*pip install -e \"\.\[bench\]\""):
        check_installed()


def test_without_quantus_the_error_of_metrics_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    check_metrics_installed()
    monkeypatch.setitem(sys.modules, "quantus", None)

    with pytest.raises(CamtoolError, match=r"metrics needs the package quantus, too: .*pip install -e \"\.\[bench\]\""):
        check_metrics_installed()
    check_installed()
