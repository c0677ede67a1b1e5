"""Names of files, and names of classes that are long, strange or hostile, on the terminal and on pictures."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from camtool.apis.outputs import network_as_file_name
from camtool.cli.rich_text import PlainConsole, Unbroken
from tests.cli.fixtures import CAT, LITE0, Run, pixels

NAMES = ["red\nfox", "\x1b[31mtiger\x1b[0m cat\x07", "x" * 500, "\x1b]0;title\x07חתול"]


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A config of a small network whose classes have these names."""
    config = tmp_path / "named.py"
    config.write_text(
        "model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),\n"
        "    neck=dict(type='GlobalAveragePooling'), head=dict(type='LinearClsHead', num_classes=4, in_channels=64))\n"
        "test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)), dict(type='PackInputs')]\n"
        "data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)\n"
        f"test_dataloader = dict(dataset=dict(metainfo=dict(classes={NAMES!r})))\n"
    )
    return config


def test_the_default_name_of_a_figure_has_the_network_in_it(run: Run, named: Path, tmp_path: Path) -> None:
    other = shutil.copy(named, tmp_path / "other.py")
    for config in (named, other):
        assert run("vis", CAT, config, "--random-weights").exit_code == 0
    assert {path.name for path in (tmp_path / "outputs/vis_cam").iterdir()} == {"cat_named_gradcam.jpg", "cat_other_gradcam.jpg"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("configs/efficientnet_lite/efficientnet-lite0_in1k.py", "efficientnet-lite0_in1k"),
        ("efficientnet-lite0_in1k", "efficientnet-lite0_in1k"),
        ("timm/resnet50.a1_in1k", "timm-resnet50.a1_in1k"),
        ("mmpretrain::resnet/resnet18_8xb32_in1k.py", "resnet18_8xb32_in1k"),
        ("hf/microsoft/resnet-50", "hf-microsoft-resnet-50"),
        ("./hf/vit", "vit"),
        ("/models/vit/", "vit"),
        ("a" * 300 + ".yaml", "a" * 60),
    ],
)
def test_a_network_has_a_part_of_a_files_name(config: str, expected: str) -> None:
    assert network_as_file_name(config) == expected


def test_with_caption_the_overlay_has_words_below_and_is_else_the_same(run: Run, tmp_path: Path) -> None:
    run("vis", CAT, LITE0, "--save-path", "plain.png")
    run("vis", CAT, LITE0, "--save-path", "words.png", "--caption")
    run("vis", CAT, LITE0, "--save-path", "each/", "--caption")

    plain, words = pixels(tmp_path / "plain.png"), pixels(tmp_path / "words.png")
    assert plain.shape == (224, 224, 3)
    np.testing.assert_array_equal(words[:224], plain)
    assert (words[224:] < 100).any()
    (each,) = (tmp_path / "each").iterdir()
    assert pixels(each).shape == words.shape


@pytest.mark.parametrize("several", [False, True])
def test_line_breaks_and_escape_codes_of_names_do_not_reach_the_terminal(run: Run, named: Path, tmp_path: Path, several: bool) -> None:
    image = shutil.copy(CAT, tmp_path / "a\x1b[2J.jpg")
    images = [image, CAT] if several else [image]
    finished = run("vis", *images, named, "--random-weights", "--target-category", "red fox", "1", "2", "3")

    assert finished.exit_code == 0, finished.stderr
    printed = finished.stdout + finished.stderr
    assert "red fox" in printed
    assert "tiger cat" in printed
    assert not set(printed) & {"\x1b", "\x07"}
    assert "x" * 130 not in printed
    assert "…" in printed
    assert "a\\u001b[2J" in printed  # a path is shown, not hidden


def test_reports_keep_names_as_they_are(run: Run, named: Path) -> None:
    report = run("vis", CAT, named, "--random-weights", "--json", "--target-category", "0", "2").report

    assert [target["name"] for target in report["targets"]] == [NAMES[0], NAMES[2]]


def test_letters_without_a_font_are_remarked_on_once_for_several_figures(run: Run, named: Path) -> None:
    named.write_text(named.read_text().replace(repr(NAMES[0]), repr("\u0378")))
    finished = run("vis", CAT, CAT, named, "--random-weights", "--target-category", "0", "1", "--save-path", "f/", "--caption")

    assert finished.exit_code == 0
    assert finished.stderr.count("Letters drawn as '?'") == 1


@pytest.mark.parametrize("width", range(14, 60, 3))
def test_in_a_narrow_terminal_a_number_is_not_parted_from_its_percent_sign(width: int) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("image", "predicted"):
        table.add_column(heading, overflow="fold")
    table.add_row(Unbroken("a.jpg"), Unbroken("great white shark (281), 2.6 %\ntiger cat (282), 57.3 %"))
    with open(os.devnull, "w") as nowhere:
        console = PlainConsole(file=nowhere, width=width, record=True)
        console.print(table)
    words = console.export_text().split("\n")
    assert not any(line.strip().startswith("%") for line in words)
    assert isinstance(console, Console)
