"""`camtool show` and `camtool export`: which rows, what is drawn and written, what is refused in one line."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import camtool.store
from camtool.apis.stored_pictures import StoredPictures
from camtool.visualization.captioned_sheet import WIDTH
from tests.cli.fixtures import LITE0, Run, pixels
from tests.store.made import make_picture_store, unmade


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store of ten samples; the picture of the third is gone, the label of the seventh is not known."""
    return make_picture_store(tmp_path / "store", tmp_path / "data", 10, odd=[2])


def tile(sheet: np.ndarray, column: int, row_top: int = 8) -> np.ndarray:
    """Return the picture of a tile of the first row, which is 48x32 pixels, enlarged."""
    left = 8 + column * (WIDTH + 8)
    return sheet[row_top : row_top + round(32 * WIDTH / 48), left : left + WIDTH]


def test_show_draws_the_rows_that_satisfy_a_condition(run: Run, folder: Path) -> None:
    store = camtool.store.open(folder)
    wrong = [row["id"] for row in store if row["label"] is not None and row["label"] != row["predicted"]]
    assert 6 not in wrong
    report = run("show", folder, "--query", "label != predicted", "-o", "wrong.png", "--json").report
    assert [row["id"] for row in report["rows"]] == wrong
    assert report["outputs"] == ["wrong.png"]
    sheet = pixels("wrong.png")
    first = next(iter(store.where(id=wrong[0])))
    expected = StoredPictures(store).read(first).overlay()
    drawn = tile(sheet, 0)
    step = WIDTH / 48
    centres = [[int((y + 0.5) * step), int((x + 0.5) * step)] for y in range(4, 28, 6) for x in range(4, 44, 8)]
    for y, x in centres:
        assert (drawn[y, x] == expected[int(y / step), int(x / step)]).all()


def test_show_draws_the_first_rows_without_a_query(run: Run, folder: Path) -> None:
    done = run("show", folder, "--limit", 3)
    assert done.exit_code == 0
    assert "Saved: sheet.png" in done.stdout
    assert pixels("sheet.png").shape[1] == 2 * WIDTH + 3 * 8
    assert "fox/00002.png" in done.stdout  # named, and a remark on the sheet, although its picture is gone


def test_show_takes_methods_layers_and_whole_pictures(run: Run, folder: Path) -> None:
    assert len(run("show", folder, "--method", "gradcam", "--original", "--json").report["rows"]) == 10
    assert run("show", folder, "--method", "fem").exit_code == 2


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("label = ", "is no condition"),
        ("labl = 1", "no column 'labl'; closest: 'label'"),
        ("true; drop table store_rows", "is no condition"),
        ("getenv('HOME') = path", "has the function 'getenv'"),
        ("exists (from read_csv('/etc/passwd'))", "has a"),
        ("1 + 1", "Expected a condition"),
        ("id < 0", "No row of the store"),
    ],
)
def test_a_query_that_is_none_is_one_line(run: Run, folder: Path, query: str, message: str) -> None:
    done = run("show", folder, "--query", query)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert message in line
    assert not Path("sheet.png").exists()


def test_what_is_no_store_is_one_line(run: Run, tmp_path: Path) -> None:
    for command in (("show", tmp_path / "none"), ("export", tmp_path, "--format", "npy", "--out", "out")):
        done = run(*command)
        assert done.exit_code == 2
        assert len(done.stderr.splitlines()) == 1
    assert not Path("out").exists()


def test_a_sheet_of_no_pictures_format_is_refused_before_the_store_is_read(run: Run, folder: Path) -> None:
    done = run("show", folder, "-o", "sheet.xyz")
    assert done.exit_code == 2
    assert "Cannot write an image as '.xyz'" in done.stderr


def test_export_names_what_is_left_out_and_goes_on(run: Run, folder: Path) -> None:
    done = run("export", folder, "--format", "png", "--out", "out")
    assert done.exit_code == 0
    assert done.stdout == "Saved: out (9 rows as png)\n"
    assert "1 sample left out: fox/00002.png (No file" in done.stderr
    report = run("export", folder, "--format", "npy", "--out", "arrays", "--limit", 4, "--json").report
    assert report == {"rows": 4, "left_out": {}, "warnings": [], "outputs": ["arrays"]}


def test_a_run_that_has_not_ended_is_said(run: Run, folder: Path) -> None:
    unmade(folder, 1)
    done = run("export", folder, "--format", "npy", "--out", "out")
    assert "Saved: out (8 rows as npy)" in done.stdout
    assert "has not ended" in done.stderr
    done = run("show", folder)
    assert done.exit_code == 0
    assert "has not ended; what is there is shown" in done.stderr


@pytest.mark.parametrize("command", ["show", "export --format npy --out out", "analyze ranges", "compare other"])
def test_deleted_shards_are_named_in_one_line(run: Run, folder: Path, tmp_path: Path, command: str) -> None:
    """Half of a store would be half of a data set, and the figures those of neither."""
    shutil.copytree(folder, tmp_path / "other")
    beside = sorted(tmp_path.iterdir())
    (folder / "maps-000001.parquet").unlink()
    for record in (folder / "_manifest").glob("000001-*.json"):
        os.utime(record, (0, 0))
    name, *options = command.split()

    done = run(name, *(options[:1] if name == "analyze" else []), folder, *options[name == "analyze" :])

    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "has records of shards that are not there: 'maps-000001.parquet'. The same 'camtool run' makes them again" in line
    assert sorted(tmp_path.iterdir()) == beside


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "npz", "--out", "out"), "closest: 'npy'"),
        (("--format", "npy", "--out", "store"), "has files in it"),
        (("--format", "npy", "--out", "store/out"), "inside of the store"),
        (("--format", "npy", "--out", "out", "--method", "fem"), "Nothing can be exported"),
        (("--format", "png", "--out", "out", "--colormap", "jett"), "closest: 'jet'"),
        (("--format", "png", "--out", "out", "--opacity", "2"), "--opacity"),
        (("--format", "png", "--out", "out", "--config", "nowhere.py"), "nowhere.py"),
        (("--format", "npy", "--out", "out", "--opacity", "0.3"), "--format npy shows, got --opacity; leave it out, or try one of: png."),
        (("--format", "nifti", "--out", "out", "--colormap", "hot"), "got --colormap; leave it out, or try one of: png."),
        (("--format", "hdf5", "--out", "out", "--original"), "got --original; leave it out, or try one of: png, volume, fiftyone."),
    ],
)
def test_what_cannot_be_exported_is_one_line(run: Run, folder: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run("export", folder, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr.splitlines()[-1]
    assert not Path("out").exists()
    assert len(list(camtool.store.open(folder))) == 10


def test_the_preprocessing_of_a_config_places_maps(run: Run, tmp_path: Path) -> None:
    """The network of another config sees 224x224 pixels, the maps are of 32x48: a row that says nothing is refused."""
    plain = make_picture_store(tmp_path / "plain", tmp_path / "data", 2, placed=False)
    done = run("export", plain, "--format", "png", "--out", "out", "--config", LITE0)
    assert done.exit_code == 2
    assert "sees 224x224 pixels, the maps are of 32x48" in done.stderr
    done = run("export", plain, "--format", "png", "--out", "out")
    assert done.exit_code == 0
    assert "Give --config CONFIG" in done.stderr
