"""Every command and program of every README does what it says."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch.nn import BatchNorm2d
from typer.testing import CliRunner

from camtool.cli.main import app
from camtool.io.volumes import read_volume
from camtool.registry import METHODS
from tests.pages import FOLDERS, PAGES, ROOT, TRAINING, blocks, commands
from tests.test_walls import FLOORS

START, *_BLOCKS = [block for page in PAGES for block in blocks(page, "bash")]
# Those that train, and look at what was trained, are run in turn, by tests/test_training_recipes.py.
COMMANDS = [command for block in _BLOCKS if block != TRAINING for command in commands(block)]
MANUALS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted((ROOT / ".github").glob("*.md"))}


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
    assert words[0] == "camtool", f"an unknown tool in a README: {command}"
    finished = CliRunner().invoke(app, words[1:])
    assert finished.exit_code == 0, finished.output


def _subcommand(script: Path) -> str:
    """Return the sub-command that a tool runs alone, as its last line says."""
    (name,) = re.findall(r'^    run_alone\("(\w+)"\)$', script.read_text(encoding="utf-8"), re.MULTILINE)
    return name


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 200


def test_the_start_is_two_commands() -> None:
    # .ci/run executes them as they stand.
    assert START.splitlines() == [
        "pip install -e . && python tools/vis_cam.py demo/cat.jpg configs/efficientnet_lite/efficientnet-lite0_in1k.py",
        'pip install -e ".[test]" && pytest',
    ]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_code_is_of_a_kind_that_is_run(page: str) -> None:
    assert PAGES[page].count("```") == 2 * sum(len(blocks(page, language)) for language in ("bash", "python"))


def test_nothing_is_shown_twice() -> None:
    assert len(set(COMMANDS)) == len(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(clone: Path, command: str) -> None:
    _run(command)


@pytest.mark.parametrize("name", re.findall(r"!\[.*?\]\((.*?)\)", PAGES["README.md"]))
def test_a_picture_is_what_the_tool_makes(clone: Path, name: str) -> None:
    shown = cv2.imread(str(ROOT / name)).astype(float)
    (clone / name).unlink()

    _run(next(command for command in COMMANDS if name in command))

    made = cv2.imread(str(clone / name)).astype(float)
    assert made.shape == shown.shape
    assert np.abs(made - shown).mean() < 2  # grey levels: other machines round otherwise


PROGRAMS = {page: blocks(page, "python") for page in PAGES if blocks(page, "python")}


def test_every_page_with_programs_is_one_of_those_whose_programs_are_run() -> None:
    assert PROGRAMS.keys() == {
        "README.md",
        "configs/README.md",
        "camtool/analysis/README.md",
        "camtool/attribution/README.md",
        "camtool/compat/README.md",
        "camtool/io/volumes/README.md",
        "camtool/methods/README.md",
        "camtool/metrics/README.md",
        "camtool/runs/README.md",
        "camtool/targets/README.md",
    }


def test_the_program_about_metrics_runs(clone: Path) -> None:
    (program,) = PROGRAMS["camtool/metrics/README.md"]
    names: dict[str, Any] = {}
    exec(compile(program, "camtool/metrics/README.md", "exec"), names)
    assert names["maps"].shape == names["masks"].shape == (2, 64, 64)


def test_the_programs_about_configs_run(clone: Path) -> None:
    recipe, own, bands, volumes, scenes = PROGRAMS["configs/README.md"]
    (clone / "recipe.py").write_text(recipe, encoding="utf-8")
    _run("python tools/vis_cam.py demo/cat.jpg recipe.py")
    assert (clone / "outputs/vis_cam/cat_recipe_fem_finer.jpg").exists()

    (clone / "network.py").write_text(own, encoding="utf-8")
    _run("python tools/vis_cam.py demo/cat.jpg network.py --target-category broken --random-weights")

    names: dict[str, Any] = {}
    exec(compile(bands, "configs/README.md", "exec"), names)
    assert set(names["preprocess"]) <= {"resize", "crop", "mean", "std", "interpolation", "channels", "value_range", "rgb", "frame"}

    (clone / "scan.py").write_text(volumes, encoding="utf-8")
    _run("camtool vis demo/head.nrrd scan.py --target-category 0 -o map.nrrd")
    centre = np.argwhere(read_volume(clone / "map.nrrd").values > 0.5).mean(axis=0)
    assert np.abs(centre - np.argwhere(read_volume(clone / "demo/head.nrrd").values > 850).mean(axis=0)).max() < 1

    exec(compile(scenes, "configs/README.md", "exec"), {})
    assert len(list((clone / "data/shapes/train").glob("*/*.png"))) == 60


def test_the_program_about_pictures_runs(clone: Path) -> None:
    (program,) = PROGRAMS["README.md"]
    names: dict[str, Any] = {}
    exec(compile(program, "README.md", "exec"), names)
    assert {name: result.maps.shape for name, result in names["explanation"].results.items()} == {
        "gradcam": (1, 1, 224, 224),
        "layercam": (1, 1, 224, 224),
    }
    assert (clone / "cat.png").stat().st_size > 1000


def test_the_program_about_data_sets_runs(clone: Path) -> None:
    (program,) = PROGRAMS["camtool/runs/README.md"]
    names: dict[str, Any] = {}
    exec(compile(program, "camtool/runs/README.md", "exec"), names)
    assert names["report"].made == 3
    assert names["store"].maps(size=(112, 112)).shape == (3, 112, 112)


def test_the_program_about_one_scale_runs(clone: Path) -> None:
    (program,) = PROGRAMS["camtool/analysis/README.md"]
    names: dict[str, Any] = {}
    exec(compile(program, "camtool/analysis/README.md", "exec"), names)
    assert names["rescaled"].shape == (7, 7)


def test_the_program_about_other_packages_runs(clone: Path) -> None:
    (program,) = PROGRAMS["camtool/compat/README.md"]
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(compile(program, "camtool/compat/README.md", "exec"), names)
    assert names["output"].shape == (1, 2)
    assert len(list((clone / "maps").rglob("attention_map_*.nii.gz"))) == 2


def test_the_program_about_volumes_runs(clone: Path) -> None:
    (program,) = PROGRAMS["camtool/io/volumes/README.md"]
    names: dict[str, Any] = {}
    exec(compile(program, "camtool/io/volumes/README.md", "exec"), names)
    assert names["again"].geometry.letters == "RAS"
    assert np.array_equal(names["again"].values, np.nan_to_num(names["heat"]))
    assert names["kind_for"](names["scan"]) == ".nii.gz"
    assert (clone / "map.nii.gz").exists()


def test_the_programs_about_tensors_run() -> None:
    library, drawing, measured, speed = PROGRAMS["camtool/attribution/README.md"]
    names: dict[str, Any] = {}
    exec(compile(library, "camtool/attribution/README.md", "exec"), names)
    assert names["result"].maps.shape == (2, 224, 224)
    assert set(names["both"]) == {"gradcam", "layercam"}
    exec(compile(drawing, "camtool/attribution/README.md", "exec"), names)
    assert names["drawn"].shape == names["signed"].shape == (224, 224, 3)
    exec(compile(measured, "camtool/attribution/README.md", "exec"), names)
    assert names["result"].layout_evidence == {"features[5]": "measured"}
    exec(compile(speed, "camtool/attribution/README.md", "exec"), names)
    assert not any(isinstance(module, BatchNorm2d) for module in names["fast"]._fast.model.modules())


def test_the_program_about_targets_runs() -> None:
    (program,) = PROGRAMS["camtool/targets/README.md"]
    names: dict[str, Any] = {}
    exec(compile(program, "camtool/targets/README.md", "exec"), names)
    assert names["upper"].maps.shape == (2, 224, 224)
    assert names["box"].maps.shape == (1, 320, 320)


def test_a_method_of_ones_own_runs(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (method,) = PROGRAMS["camtool/methods/README.md"]
    (clone / "my_methods.py").write_text(method, encoding="utf-8")
    (clone / "own.py").write_text(
        '_base_ = "configs/efficientnet_lite/efficientnet-lite0_in1k.py"\ncustom_imports = dict(imports=["my_methods"])\n', encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(clone))
    try:
        _run("python tools/vis_cam.py demo/cat.jpg own.py --method positivegradcam")
    finally:
        METHODS.module_dict.pop("PositiveGradCAM", None)


@pytest.mark.parametrize("page", [*PAGES, *MANUALS])
def test_what_a_page_names_is_there(page: str) -> None:
    text = {**PAGES, **MANUALS}[page]
    links = [link.partition("#") for link in re.findall(r"\]\((?!https?:)(.*?)\)", text)]
    for path, _, heading in links:
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page} links to {path}"
        assert not heading or heading in _headings(file.read_text(encoding="utf-8")), f"{page} links to {path}#{heading}"
    for path in re.findall(rf"`((?:{'|'.join((*FOLDERS, '.github', '.ci'))})/[\w./+-]*)`", text):
        assert (ROOT / path).exists(), f"{page} names {path}"


def _headings(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_hooks_before_a_commit_are_what_ci_runs_with_the_environments_tools() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert local["repo"] == "local"
    assert {hook["language"] for hook in local["hooks"]} == {"system"}
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert [hook["entry"] for hook in local["hooks"]] == [line for line in lines if line.split(" ")[0] in ("ruff", "mypy")]


def test_the_floors_are_those_of_the_walls() -> None:
    rows = re.findall(r"^\| \d+ \| (.*) \|$", MANUALS[".github/CONTRIBUTING.md"], re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in reversed(rows)] == FLOORS
