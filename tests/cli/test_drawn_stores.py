"""What is drawn of volumes and of signals, of stores of them and by `camtool browse`: on the samples themselves, each map where it lies."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camtool.store
from camtool import Explainer
from camtool.apis.stored_pictures import StoredPictures
from camtool.io.volumes import Geometry, Volume, read_volume, write_volume
from camtool.visualization.signals import LEFT, STRIP, WIDTH
from camtool.visualization.volume_views import MARGIN as FRAME
from camtool.visualization.volumes import STRIP_SIDE
from tests.cli.fixtures import ROOT, Run, pixels

SHAPE, BALL = (20, 24, 16), (13, 7, 10)
RATE, SECONDS, PEAK = 200.0, 8.0, 5.2
CONFIGS = {kind: ROOT / "configs" / "torch_model" / f"bright_{kind}.py" for kind in ("volume", "signal")}
SHEET, GRID = 8, 8  # pixels around tiles


def write_scan(path: Path, ball: tuple[int, ...] = BALL) -> None:
    """Write a scan with a bright ball, its axes to the left, the front and the top, half a voxel of the network's input a voxel."""
    places = np.stack(np.indices(SHAPE), axis=-1)
    values = (100 + 1200 * (np.linalg.norm(places - ball, axis=-1) < 2.6)).astype(np.float32)
    write_volume(path, values, Volume(values, Geometry(np.diag([-2.0, 2.0, 2.0, 1.0])), path.name))


def write_record(path: Path, peak: float = PEAK) -> None:
    """Write a record with one peak."""
    times = np.arange(0, SECONDS, 1 / RATE)
    values = np.exp(-((times - peak) ** 2) / 0.02) + 0.01 * np.sin(times)
    np.savetxt(path, np.stack([times, values]).T, delimiter=",", header="time,lead", comments="")


@pytest.fixture
def stores(run: Run, tmp_path: Path) -> Callable[..., Path]:
    """Return the folder of a store of one kind: two samples of each of two classes, explained for bright."""

    def made(kind: str, name: str = "store", **others: Any) -> Path:
        for number in range(4):
            path = tmp_path / "data" / ("bright", "dark")[number // 2] / f"{number}{'.nii.gz' if kind == 'volume' else '.csv'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "volume":
                write_scan(path)
            else:
                write_record(path)
        options = [part for key, value in others.items() for part in (f"--{key.replace('_', '-')}", value)]
        finished = run("run", CONFIGS[kind], "--data", "data", "--out", name, "--target-category", "bright", "--workers", 0, *options)
        assert finished.exit_code == 0, finished.stderr
        return tmp_path / name

    return made


def red(picture: np.ndarray) -> np.ndarray:
    """Return where a picture in the colours of jet is red: (places, 2), rows and columns."""
    levels = picture.astype(int)
    return np.argwhere((levels[..., 0] - levels[..., 2] > 60) & (levels[..., 0] - levels[..., 1] > 40))


def axial(side: int, left: int, top: int, ball: tuple[int, ...] = BALL) -> tuple[float, float]:
    """Return the row and the column of the ball in the axial slice: seen from the feet, the front at the top, the left at the right."""
    step = side / max(SHAPE)  # pixels of a voxel
    return top + FRAME + (SHAPE[1] - ball[1] - 0.5) * step, left + FRAME + (ball[0] + 0.5) * step


def check_sheet_of_a_scan(sheet: np.ndarray, left: int = SHEET, top: int = SHEET) -> None:
    """Check that the axial slice of the tile at this place is red where the ball is, and nowhere else."""
    width, height = (round(size * STRIP_SIDE / max(SHAPE)) + 2 * FRAME for size in SHAPE[:2])
    first = red(sheet[top + GRID : top + GRID + height, left + GRID : left + GRID + width])
    expected = axial(STRIP_SIDE, 0, 0)
    assert np.abs(first.mean(axis=0) - expected).max() < 3
    assert np.abs(first - expected).max() < 4 * STRIP_SIDE / max(SHAPE)


def check_sheet_of_a_record(sheet: np.ndarray, left: int = SHEET) -> None:
    """Check that the strip under the record of the tile at this place is red at its peak."""
    area = sheet[: 8 + 160, left + LEFT : left + LEFT + WIDTH]
    found = red(area)
    rows, counts = np.unique(found[:, 0], return_counts=True)
    assert len(rows[counts > 5]) >= STRIP
    assert abs(found[:, 1].mean() / WIDTH * SECONDS - PEAK) < 0.03
    assert np.abs(found[:, 1] / WIDTH * SECONDS - PEAK).max() < 0.2


CHECKS: dict[str, Callable[..., None]] = {"volume": check_sheet_of_a_scan, "signal": check_sheet_of_a_record}
KINDS = pytest.mark.parametrize("kind", ["volume", "signal"])


@KINDS
def test_a_stored_map_lies_where_that_of_the_call_does(stores: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    store = camtool.store.open(stores(kind))
    row = next(iter(store))
    explanation = Explainer(CONFIGS[kind])(tmp_path / "data" / row["path"], categories="bright")

    read = StoredPictures(store).read(row)

    expected = explanation.canvas().placed(explanation.results["gradcam"].maps[0, 0].numpy())
    np.testing.assert_allclose(read.saliency, expected, atol=1e-6)
    assert store.run["input"]["kind"] == kind


@KINDS
def test_show_draws_the_samples(run: Run, stores: Callable[..., Path], kind: str) -> None:
    store = stores(kind)

    finished = run("show", store, "-o", "sheet.png")

    assert finished.exit_code == 0, finished.stderr
    assert not finished.stderr
    CHECKS[kind](pixels("sheet.png"))


def test_a_scan_is_exported_as_slices_and_as_a_volume_in_its_place(run: Run, stores: Callable[..., Path], tmp_path: Path) -> None:
    store = stores("volume")

    for form in ("png", "volume"):
        assert run("export", store, "--format", form, "--out", form).exit_code == 0

    picture = next((tmp_path / "png").glob("*.png"))
    first = red(pixels(picture)[:320, :300])
    assert np.abs(first.mean(axis=0) - axial(300, GRID, GRID)).max() < 4
    names = sorted(path.name for path in (tmp_path / "volume").glob("*.nii.gz"))
    assert len(names) == 4
    found, scan = read_volume(tmp_path / "volume" / names[0]), read_volume(tmp_path / "data/bright/0.nii.gz")
    assert found.geometry is not None
    assert scan.geometry is not None
    assert found.geometry.distance(scan.geometry, SHAPE) == 0
    assert np.abs(np.stack(np.nonzero(found.values > 0.5), axis=-1).mean(axis=0) - BALL).max() < 0.5


def test_a_record_is_exported_over_time_and_is_no_volume(run: Run, stores: Callable[..., Path], tmp_path: Path) -> None:
    store = stores("signal")

    assert run("export", store, "--format", "png", "--out", "png").exit_code == 0

    found = red(pixels(next((tmp_path / "png").glob("*.png")))[:210, LEFT : LEFT + WIDTH])
    assert abs(found[:, 1].mean() / WIDTH * SECONDS - PEAK) < 0.03
    for form, words in (("volume", "it is no volume"), ("fiftyone", "it is no picture"), ("hdf5", "it has no map of two axes")):
        refused = run("export", store, "--format", form, "--out", form)
        assert refused.exit_code == 2
        (line,) = refused.stderr.splitlines()
        assert words in line


@KINDS
def test_samples_that_are_gone_are_told_in_one_line(run: Run, stores: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    store = stores(kind)
    shutil.rmtree(tmp_path / "data")

    exported = run("export", store, "--format", "png", "--out", "out")
    drawn = run("show", store, "-o", "sheet.png")

    assert exported.exit_code == 2
    for finished in (exported, drawn):
        (line,) = finished.stderr.splitlines()
        assert f"No file '{tmp_path / 'data' / 'bright' / '0'}" in line
    assert not (tmp_path / "out").exists()


@KINDS
def test_a_store_that_does_not_describe_its_samples_needs_the_config(run: Run, stores: Callable[..., Path], kind: str) -> None:
    store = stores(kind)
    described = json.loads((store / "run.json").read_text())
    del described["input"]
    (store / "run.json").write_text(json.dumps(described))

    without, given = run("show", store, "-o", "a.png"), run("show", store, "-o", "b.png", "--config", CONFIGS[kind])

    (line,) = without.stderr.splitlines()
    assert "the store does not say how that was made of it. Give --config CONFIG." in line
    assert not given.stderr
    CHECKS[kind](pixels("b.png"))


def test_a_damaged_description_is_one_line(run: Run, stores: Callable[..., Path]) -> None:
    store = stores("volume")
    described = json.loads((store / "run.json").read_text())
    for damaged in ({"kind": "volume"}, {**described["input"], "kind": "film"}, {**described["input"], "reading": {"spacing": [0, 1, 1]}}):
        (store / "run.json").write_text(json.dumps({**described, "input": damaged}))
        finished = run("show", store)
        assert finished.exit_code == 2
        (line,) = finished.stderr.splitlines()
        assert "description of its samples is damaged" in line


@KINDS
def test_two_stores_are_compared_on_the_samples(run: Run, stores: Callable[..., Path], kind: str) -> None:
    first, second = stores(kind, "a"), stores(kind, "b", method="layercam")

    finished = run("compare", first, second, "-o", "moved.png", "--limit", 2)

    assert finished.exit_code == 0, finished.stderr
    sheet = pixels("moved.png")
    width = (sheet.shape[1] - 3 * SHEET) // 2
    for left in (SHEET, 2 * SHEET + width):  # one store beside the other
        CHECKS[kind](sheet, left=left)


@KINDS
def test_concepts_are_drawn_on_the_sample(run: Run, stores: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    """The one concept is the dark, which is nearly everything: coloured, but for the peak."""
    stores(kind)
    sample = min((tmp_path / "data" / "bright").iterdir())

    finished = run("vis", sample, CONFIGS[kind], "--method", "dff", "--n-components", 1, "-o", "concepts.png", "--save-raw", "raw.npz")

    assert finished.exit_code == 0, finished.stderr
    arrays = np.load("raw.npz")
    assert ("affine" if kind == "volume" else "time") in arrays
    picture = pixels("concepts.png").astype(int)
    assert (arrays["map/dff"][0] > 0.5).mean() > 0.5
    coloured = picture[..., 0] - picture[..., 1] > 60
    if kind == "volume":
        assert coloured.mean() > 0.2
    else:
        strip = coloured[:, LEFT : LEFT + WIDTH]
        at_peak = slice(int((PEAK - 0.05) / SECONDS * WIDTH), int((PEAK + 0.05) / SECONDS * WIDTH))
        rows = strip.mean(axis=1) > 0.5
        assert rows.sum() >= STRIP
        assert not strip[rows][:, at_peak].any()


@KINDS
def test_clusters_have_sheets_of_the_samples(run: Run, stores: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    report = run("analyze", "clusters", stores(kind), "--class", "bright", "--clusters", 1, "--json").report

    assert report["warnings"] == []
    sheet = pixels(report["outputs"][-1])
    if kind == "volume":  # below the heading the black frame of the first slice begins
        check_sheet_of_a_scan(sheet, top=int((sheet[:, SHEET + GRID + 2] == 0).all(axis=1).argmax()) - GRID)
    else:
        found = red(sheet[:, SHEET + LEFT : SHEET + LEFT + WIDTH])
        assert abs(found[:, 1].mean() / WIDTH * SECONDS - PEAK) < 0.03


@KINDS
def test_files_are_browsed(run: Run, tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("scan.nii.gz" if kind == "volume" else "record.csv")
    (write_scan if kind == "volume" else write_record)(path)

    finished = run("browse", CONFIGS[kind], "--image", path, "--target-category", "bright", "--out-dir", "out")

    assert finished.exit_code == 0, finished.stderr
    (drawn,) = map(pixels, (tmp_path / "out").iterdir())
    if kind == "volume":  # scan, map and both below each other
        height = 300 * SHAPE[1] // max(SHAPE) + 2 * FRAME
        for block in (1, 2):
            top = GRID + block * (height + GRID)
            found = red(drawn[top : top + height, : 8 + 300 * SHAPE[0] // max(SHAPE) + 2 * FRAME])
            assert np.abs(np.median(found, axis=0) - axial(300, GRID, 0)).max() < 6
        assert not len(red(drawn[: GRID + height]))
    else:
        found = red(drawn[:240, LEFT : LEFT + WIDTH])
        assert abs(np.median(found[:, 1]) / WIDTH * SECONDS - PEAK) < 0.05


def test_samples_that_are_read_otherwise_are_another_run(run: Run, tmp_path: Path) -> None:
    config, command = tmp_path / "c.py", ("run", "c.py", "--data", "data", "--out", "store", "--workers", 0)
    (tmp_path / "data").mkdir()
    write_record(tmp_path / "data" / "record.csv")
    config.write_text(CONFIGS["signal"].read_text().replace("demo/brightness.py:", str(ROOT / "demo/brightness.py:")))
    assert run(*command).exit_code == 0
    described = json.loads((tmp_path / "store" / "run.json").read_text())
    assert described["input"] == {"kind": "signal", "reading": {}, "preprocess": {"rate": 100, "normalise": "zscore"}}
    assert run(*command).exit_code == 0

    config.write_text(config.read_text() + "\ninput = dict(kind='signal', duration=4.0)\n")
    other = run(*command)

    assert other.exit_code == 2
    assert "is the store of another run; changed: config.input" in other.stderr
