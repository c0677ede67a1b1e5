"""The command line in this process: `run("vis", IMG, CONFIG, …)`, with an empty folder as working directory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from camtool.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
LITE0 = str(ROOT / "configs/efficientnet_lite/efficientnet-lite0_in1k.py")
CAT, ESPRESSO, ROCKET, PAIR = (str(ROOT / "demo" / f"{name}.jpg") for name in ("cat", "espresso", "rocket", "cat_and_espresso"))
LAST = "backbone.timm_model.bn2"


class Finished:
    """A finished command."""

    def __init__(self, result: Any) -> None:
        self.exit_code: int = result.exit_code
        self.stdout: str = result.stdout
        self.stderr: str = result.stderr

    @property
    def report(self) -> dict[str, Any]:
        """Standard output, which must be exactly one JSON object."""
        assert self.exit_code == 0, self.stderr
        loaded = json.loads(self.stdout)
        assert isinstance(loaded, dict)
        return loaded


Run = Callable[..., Finished]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `camtool` with arguments; relative outputs land in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return lambda *arguments: Finished(CliRunner().invoke(app, list(map(str, arguments))))


def pixels(path: Path | str) -> np.ndarray:
    """Return a written picture in RGB."""
    picture = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None, f"{path} is no picture"
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
