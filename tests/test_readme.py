"""Every command and program of the README does what it says."""

import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from torch.nn import BatchNorm2d
from typer.testing import CliRunner

from camtool.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_START, *_BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
# Those that train, and look at what was trained, are run in turn, by tests/test_training_recipes.py.
COMMANDS = [line for block in _BLOCKS if "tools/train.py" not in block for line in block.replace("\\\n", " ").splitlines() if line.strip()]
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with what a clone has and the commands name."""
    for folder in ("demo", "configs", "tools"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "python":
        words[:2] = ["camtool", _subcommand(Path(words[1]))]
    assert words[0] == "camtool", f"an unknown tool in the README: {command}"
    finished = CliRunner().invoke(app, words[1:])
    assert finished.exit_code == 0, finished.output


def _subcommand(script: Path) -> str:
    """Return the sub-command that a tool runs alone, as the tool's own import says."""
    (name,) = re.findall(r"^from camtool\.cli\.(?!main\b)(\w+) import \1$", script.read_text(encoding="utf-8"), re.MULTILINE)
    return name


def test_the_start_is_two_commands() -> None:
    # .ci/run executes them as they stand.
    assert _START.splitlines() == [
        "pip install -e . && python tools/vis_cam.py demo/cat.jpg configs/efficientnet_lite/efficientnet-lite0_in1k.py",
        'pip install -e ".[test]" && pytest',
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(clone: Path, command: str) -> None:
    _run(command)


def test_the_picture_is_what_the_tool_makes(clone: Path) -> None:
    name, _ = re.findall(r"!\[.*?\]\((.*?)\)", README)
    shown = cv2.imread(str(ROOT / name)).astype(float)
    (clone / name).unlink()

    _run(next(command for command in COMMANDS if name in command))

    made = cv2.imread(str(clone / name)).astype(float)
    assert made.shape == shown.shape
    assert np.abs(made - shown).mean() < 2  # grey levels: other machines round otherwise


def test_the_programs_run(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, own, library, targets, speed, method, scenes = PROGRAMS
    (clone / "recipe.py").write_text(recipe, encoding="utf-8")
    _run("python tools/vis_cam.py demo/cat.jpg recipe.py")
    assert (clone / "outputs/vis_cam/cat_fem_finer.jpg").exists()

    (clone / "network.py").write_text(own, encoding="utf-8")
    _run("python tools/vis_cam.py demo/cat.jpg network.py --target-category broken --random-weights")

    names: dict[str, object] = {}
    exec(compile(library, "README.md", "exec"), names)
    assert names["result"].maps.shape == (2, 224, 224)  # type: ignore[attr-defined]
    assert set(names["both"]) == {"gradcam", "layercam"}  # type: ignore[call-overload]
    exec(compile(targets, "README.md", "exec"), names)
    assert names["upper"].maps.shape == (2, 224, 224)  # type: ignore[attr-defined]
    assert names["box"].maps.shape == (1, 320, 320)  # type: ignore[attr-defined]
    exec(compile(speed, "README.md", "exec"), names)
    assert not any(isinstance(module, BatchNorm2d) for module in names["fast"]._fast.model.modules())  # type: ignore[attr-defined]
    exec(compile(scenes, "README.md", "exec"), {})
    assert len(list((clone / "data/shapes/train").glob("*/*.png"))) == 60

    from camtool.registry import METHODS

    (clone / "my_methods.py").write_text(method, encoding="utf-8")
    (clone / "own.py").write_text(
        "_base_ = 'configs/efficientnet_lite/efficientnet-lite0_in1k.py'\ncustom_imports = dict(imports=['my_methods'])\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(clone))
    try:
        _run("python tools/vis_cam.py demo/cat.jpg own.py --method positivegradcam")
    finally:
        METHODS.module_dict.pop("PositiveGradCAM", None)
