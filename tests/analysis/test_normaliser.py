"""Normalisers: fitted on one store, kept in a file, applied to another; against a slow replica of the seed's formulas."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from camtool.analysis import Normaliser
from camtool.analysis.sources import Source
from camtool.errors import DataError
from camtool.store.schema import Row
from tests.analysis.stores import random_rows, write_store

HERE = Source("gradcam", "[0]")


def _percentile(values: list[float], percentile: float) -> float:
    """Return a percentile, literally: sort, and go linearly between the two neighbours."""
    values = sorted(values)
    place = percentile / 100 * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (place - below) * (values[above] - values[below])


def _rescaled(x: float, vmax: float, vmin: float, kind: str, s: float, own: list[float], *, minus: bool) -> float:
    """Return one rescaled value, as the semantics say it, value by value."""
    if minus:
        x = max(x, 0.0)
        own = [max(value, 0.0) for value in own]
    if kind == "norm":
        vmin = 0.0 if minus else vmin
        return (x - s * vmin) / (s * vmax - s * vmin)
    if kind == "tanh":
        k = (math.atanh(0.95) - math.atanh(0.05)) / (vmax - vmin)
        b = (math.atanh(0.95) * vmin - math.atanh(0.05) * vmax) / (vmin - vmax)
        return math.tanh(k * x + b)
    return (x - min(own)) / (max(own) - min(own) + 1e-7)


@pytest.mark.parametrize("size", [(7,), (4, 5), (2, 3, 4)])
@pytest.mark.parametrize("kind", ["norm", "tanh", "none"])
@pytest.mark.parametrize("minus", [False, True])
def test_fitted_and_applied_as_the_literal_formulas_say(tmp_path: Path, size: tuple[int, ...], kind: str, minus: bool) -> None:
    rows = random_rows(size=size)
    other = write_store(tmp_path / "test", random_rows(20, size=size, seed=1))
    maps = [row.map.flatten().tolist() for row in rows if row.map is not None]
    vmax, vmin = _percentile([max(m) for m in maps], 90), _percentile([min(m) for m in maps], 50)

    fitted = Normaliser.fit(write_store(tmp_path / "train", rows), rescale=kind, remove_minus=minus, scale_ratio=1.5)

    assert (fitted.vmax, fitted.vmin) == pytest.approx((vmax, vmin), rel=1e-12)
    assert fitted.table is not None
    assert (fitted.table.count, fitted.table.left_out) == (len(maps), 15)
    for percentile in (25, 50, 75, 90, 99):
        assert fitted.table.maxima[percentile] == pytest.approx(_percentile([max(m) for m in maps], percentile), rel=1e-12)
        assert fitted.table.minima[percentile] == pytest.approx(_percentile([min(m) for m in maps], percentile), rel=1e-12)
    applied = list(fitted.rows(other))
    assert len(applied) == 18
    for row, rescaled in applied:
        assert row.map is not None
        assert rescaled.shape == size
        own = row.map.flatten().tolist()
        expected = [_rescaled(x, vmax, vmin, kind, 1.5, own, minus=minus) for x in own]
        assert rescaled.flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_by_hand() -> None:
    maps = torch.tensor([[[-2.0, 0.0], [2.0, 6.0]]])
    normaliser = Normaliser(HERE, vmax=4.0, vmin=-2.0)

    assert normaliser(maps).flatten().tolist() == pytest.approx([0, 2 / 6, 4 / 6, 8 / 6])  # not clipped
    assert replace(normaliser, remove_minus=True)(maps).flatten().tolist() == [0, 0, 0.5, 1.5]
    assert replace(normaliser, scale_ratio=2.0)(maps).flatten().tolist() == pytest.approx([2 / 12, 4 / 12, 6 / 12, 10 / 12])
    ends = replace(normaliser, rescale="tanh")(torch.tensor([[-2.0, 4.0]]))
    assert ends.flatten().tolist() == pytest.approx([0.05, 0.95])
    assert replace(normaliser, rescale="none")(maps).flatten().tolist() == pytest.approx([0, 0.25, 0.5, 1])


def test_zero_is_an_ordinary_end_of_a_range() -> None:
    assert Normaliser(HERE, vmax=0.0, vmin=-2.0)(torch.tensor([[-1.0, 0.0]])).tolist() == [[0.5, 1.0]]
    assert Normaliser(HERE, vmax=2.0, vmin=0.0)(torch.tensor([[1.0, 0.0]])).tolist() == [[0.5, 0.0]]


@pytest.mark.parametrize("half", [False, True])
def test_the_range_is_of_the_columns_and_no_map_is_read(tmp_path: Path, half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows()
    store = write_store(tmp_path / "store", rows, half=half)
    monkeypatch.setattr("camtool.store.reader.maps_of", None)

    exact = sorted(float(row.map.max()) for row in rows if row.map is not None)

    assert Normaliser.fit(store).vmax == pytest.approx(_percentile(exact, 90), rel=1e-12)


def test_a_file_gives_the_same_normaliser(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", random_rows(), fingerprint={"target": "label", "data": "abc"})
    fitted = Normaliser.fit(store, rescale="tanh", scale_ratio=0.1 + 0.2, percentiles=(95.0, 40.0))

    assert fitted.table is not None
    assert (fitted.vmax, fitted.vmin) == (fitted.table.maxima[95.0], fitted.table.minima[40.0])
    again = Normaliser.load(fitted.save(tmp_path / "new" / "file.json"))

    assert again == fitted
    assert again.fitted_on == {"store": "store", "samples": 150, "fingerprint": {"target": "label", "data": "abc"}}
    assert again.table is not None
    assert list(again.table.maxima) == [25, 40, 50, 75, 90, 95, 99]


@pytest.mark.parametrize("minus", [False, True])
@pytest.mark.parametrize("kind", ["norm", "tanh"])
def test_a_degenerate_range_is_refused(tmp_path: Path, kind: str, minus: bool) -> None:
    constant = -1.0 if minus and kind == "norm" else 2.0
    rows = [Row(k, f"{k}", method="gradcam", layer="[0]", map=torch.full((2, 2), constant)) for k in range(3)]
    store = write_store(tmp_path / "store", rows)

    with pytest.raises(DataError, match=r"degenerate: vmax .* <= vmin"):
        Normaliser.fit(store, rescale=kind, remove_minus=minus)
    assert Normaliser.fit(store, rescale="none").vmax == constant


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = Normaliser(HERE, 1.0, 0.0).save(tmp_path / "file.json")
    good = json.loads(path.read_text())
    changes: list[dict[str, object]] = [
        {"format": "other"},
        {"vmax": "1"},
        {"vmax": None},
        {"remove_minus": 1},
        {"rescale": 3},
        {"ranges": {"count": 1}},
        {"vmax": True},
    ]
    for change in changes:
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(DataError, match="is no normaliser"):
            Normaliser.load(path)
    for content, words in (("[]", "is no normaliser"), ("{", "cannot be read"), ("3", "is no normaliser")):
        path.write_text(content)
        with pytest.raises(DataError, match=words):
            Normaliser.load(path)
    for change, words in (({"vmax": -1.0}, "degenerate"), ({"rescale": "nrom"}, "closest: 'norm'"), ({"scale_ratio": 0.0}, "above 0")):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(DataError, match=words):
            Normaliser.load(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataError, match="cannot be read"):
        Normaliser.load(path)
    with pytest.raises(DataError, match="cannot be read"):
        Normaliser.load(tmp_path / "missing.json")


def test_another_layer_or_method_is_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", random_rows(10, methods=("gradcam", "layercam"), layers=("layer3", "layer4")))

    for method, layer in (("gradcam", "layer2"), ("hirescam", "layer4")):
        with pytest.raises(DataError, match=rf"The normaliser is of {method} at {layer}, the store '.*' has gradcam at layer3, gradcam at"):
            next(Normaliser(Source(method, layer), 1.0, 0.0).rows(store))
    with pytest.raises(DataError, match="choose one method and one layer"):
        Normaliser.fit(store)
    with pytest.raises(DataError, match="no maps of the layer 'layer5'; closest: 'layer"):
        Normaliser.fit(store, layer="layer5")
    fitted = Normaliser.fit(store, method="layercam", layer="layer4")
    assert {(row["method"], row["layer"]) for row, _ in fitted.rows(store)} == {("layercam", "layer4")}
    assert fitted.table is not None
    assert (fitted.table.count, fitted.table.left_out) == (9, 1)


def test_a_store_without_a_map_is_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", [Row(0, "a.png", method="gradcam", status="unreadable")])

    with pytest.raises(DataError, match="has no map; expected"):
        Normaliser.fit(store)


def test_a_run_that_has_not_ended_is_said(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", random_rows(10), samples=100)

    with pytest.warns(UserWarning, match="has not ended"):
        Normaliser.fit(store)
