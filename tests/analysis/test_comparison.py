"""Two stores compared: pure functions against literal replicas, partners by content, and what is counted."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import camtool.store
from camtool.analysis.comparison import Comparison, Side, compare
from camtool.analysis.map_distances import energy_distance
from camtool.analysis.sources import only_source
from camtool.errors import DataError
from camtool.metrics.rank_correlation import spearman
from camtool.placement import Placement
from camtool.store.schema import Row
from tests.store.made import failed, make_store, random_rows, shards_of

RNG = np.random.default_rng(0)


def literal_spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's correlation of the ranks, each the mean of the places that equal values could have."""

    def ranks(values: Sequence[float]) -> list[float]:
        return [sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2 for value in values]

    a, b = ranks(first), ranks(second)
    n = len(a)
    mean_a, mean_b = sum(a) / n, sum(b) / n
    shared = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    return shared / math.sqrt(sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b))


def literal_energy(first: np.ndarray, second: np.ndarray) -> float:
    def mean(one: np.ndarray, other: np.ndarray) -> float:
        return sum(math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True))) for a in one for b in other) / (len(one) * len(other))

    return math.sqrt(max(2 * mean(first, second) - mean(first, first) - mean(second, second), 0.0))


@pytest.mark.parametrize("levels", [3, 1000])
def test_rank_correlation_is_that_of_the_definition_with_ties(levels: int) -> None:
    first, second = (RNG.integers(0, levels, (20, 12)).astype(float) for _ in range(2))
    expected = [literal_spearman(a.tolist(), b.tolist()) for a, b in zip(first, second, strict=True)]
    assert np.allclose(spearman(first, second), expected, atol=1e-12)


def test_rank_correlation_by_hand() -> None:
    """Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5)."""
    assert spearman(np.array([[0.0, 1.0, 1.0, 7.0]]), np.array([[2.0, 3.0, 4.0, 5.0]]))[0] == pytest.approx(4.5 / math.sqrt(22.5))
    assert np.isnan(spearman(np.ones((1, 4)), np.arange(4.0)[None])[0])


def test_energy_distance_is_that_of_the_definition() -> None:
    first, second = RNG.normal(size=(7, 5)), RNG.normal(0.5, 2.0, size=(11, 5))
    assert energy_distance(first, second) == pytest.approx(literal_energy(first, second), rel=1e-12)
    assert energy_distance(first, second) == pytest.approx(energy_distance(second, first), rel=1e-12)
    assert energy_distance(first, RNG.permutation(first)) == pytest.approx(0, abs=1e-7)


def test_energy_distance_of_many_maps_is_that_of_a_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = RNG.normal(size=(30, 4)), RNG.normal(1.0, size=(20, 4))
    monkeypatch.setattr("camtool.analysis.map_distances._CHUNK", 7)
    assert energy_distance(first, second) == pytest.approx(literal_energy(first, second), rel=1e-12)


def sides(first: Path, second: Path) -> tuple[Side, Side]:
    stores = [camtool.store.open(folder) for folder in (first, second)]
    return Side(stores[0], only_source(stores[0])), Side(stores[1], only_source(stores[1]))


def compared(tmp_path: Path, change: object) -> Comparison:
    """Return the comparison of a store of 20 samples with one whose rows were changed by `change(row)`, None: left out."""
    first = make_store(tmp_path / "a", 20)
    assert callable(change)
    rows = [row for shard in shards_of(20, 8) for row in random_rows(shard)]
    changed = [row for row in map(change, rows) if row is not None]
    second = make_store(tmp_path / "b", len(changed), 64, rows=lambda _: changed)
    return compare(*sides(first, second))


def test_a_store_is_equal_to_itself(tmp_path: Path) -> None:
    found = compared(tmp_path, lambda row: row)
    assert found.whole.samples == 20
    assert found.whole.agreement == 1
    assert found.whole.correlation == pytest.approx(1)
    assert found.whole.distance == pytest.approx(0, abs=1e-7)
    assert [one.label for one in found.classes] == [0, 1, 2, None]
    assert sum(one.samples for one in found.classes) == 20
    assert found.unmatched == (0, 0)
    assert found.size == (4, 6)
    rows = random_rows(range(20))
    right = [row.label == row.predicted for row in rows if row.label is not None]
    assert found.whole.accuracies[0] == found.whole.accuracies[1] == pytest.approx(sum(right) / len(right))


def test_the_samples_that_moved_most_come_first(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        lambda row: dataclasses.replace(row, map=-row.map, predicted=(row.predicted + 1) % 3) if row.id in (3, 11) else row,  # type: ignore[operator]
    )
    assert {pair.first["id"] for pair in found.pairs[:2]} == {3, 11}
    assert [pair.correlation for pair in found.pairs[:3]] == pytest.approx([-1, -1, 1])
    assert found.whole.agreement == 0.9
    changed = {label: sum(k % 3 == label for k in (3, 11)) for label in range(3)}
    for one in found.classes[:3]:
        assert one.label is not None
        assert one.agreement == pytest.approx(1 - changed[one.label] / one.samples)
        assert (one.distance > 1e-3) == bool(changed[one.label])


def test_samples_are_matched_by_content_whatever_they_are_called(tmp_path: Path) -> None:
    found = compared(tmp_path, lambda row: dataclasses.replace(row, id=19 - row.id, path=f"renamed/{row.id}.png"))
    assert found.whole.samples == 20
    assert found.whole.correlation == pytest.approx(1)


def test_samples_are_matched_by_path_only_without_a_digest(tmp_path: Path) -> None:
    found = compared(tmp_path, lambda row: dataclasses.replace(row, digest=None if row.id % 2 else "0" * 64))
    assert found.whole.samples == 10  # the others have another content
    assert found.unmatched == (10, 10)
    assert all(pair.first["path"] == pair.second["path"] for pair in found.pairs)


def test_copies_of_a_picture_are_matched_by_their_paths(tmp_path: Path) -> None:
    def rows(samples: Sequence[int]) -> list[Row]:
        return [dataclasses.replace(row, digest="same") for row in random_rows(samples)]

    first, second = make_store(tmp_path / "a", 6, rows=rows), make_store(tmp_path / "b", 6, rows=lambda samples: rows(samples)[::-1])
    found = compare(*sides(first, second))
    assert all(pair.first["path"] == pair.second["path"] for pair in found.pairs)
    assert found.whole.correlation == pytest.approx(1)


def test_samples_without_a_map_and_without_a_partner_are_counted(tmp_path: Path) -> None:
    def change(row: Row) -> Row | None:
        if row.id in (0, 1):
            return dataclasses.replace(failed(row.id), digest=row.digest)
        return None if row.id in (5, 6, 7) else row

    found = compared(tmp_path, change)
    assert found.whole.samples == 15
    assert found.without_map == 2
    assert found.unmatched == (3, 0)


def test_a_map_that_says_nothing_has_no_correlation_and_comes_last(tmp_path: Path) -> None:
    found = compared(tmp_path, lambda row: dataclasses.replace(row, map=torch.zeros(4, 6)) if row.id == 4 else row)
    assert found.pairs[-1].first["id"] == 4
    assert np.isnan(found.pairs[-1].correlation)
    assert found.whole.correlation == pytest.approx(1)  # the mean of the others


def test_maps_of_two_sizes_are_compared_where_their_cells_lie(tmp_path: Path) -> None:
    """A map of 8x12 cells that is the finer drawing of one of 4x6, placed half a cell aside: as it is the two are not alike."""
    place = Placement((4.0, 4.0), (3.5, 3.5))

    def change(row: Row) -> Row:
        (own,) = [row]
        coarse = camtool.store.MapRow({"placement": list(own.placement or ()), "input_size": [32, 48]}, own.map).resized()
        index = [torch.arange(count) * 4 + 3 for count in (8, 12)]
        fine = (coarse[index[0]][:, index[1]] + coarse[(index[0] + 1).clamp(max=31)][:, (index[1] + 1).clamp(max=47)]) / 2
        return dataclasses.replace(row, map=fine, placement=(*place.scale, *place.offset))

    found = compared(tmp_path, change)
    assert found.size == (8, 12)
    assert found.whole.correlation > 0.97


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    first = make_store(tmp_path / "a", 4)
    other = make_store(
        tmp_path / "b", 4, rows=lambda samples: [dataclasses.replace(row, digest=f"{row.id}") for row in random_rows(samples)]
    )
    with pytest.raises(DataError, match="no sample in common"):
        compare(*sides(first, other))
    signals = make_store(tmp_path / "c", 4, rows=lambda samples: random_rows(samples, size=(4,)))
    with pytest.raises(DataError, match="one number of axes"):
        compare(*sides(first, signals))


def test_the_map_of_the_predicted_class_is_compared(tmp_path: Path) -> None:
    def rows(samples: Sequence[int]) -> list[Row]:
        others = [dataclasses.replace(row, target=2 - row.predicted, map=-row.map) for row in random_rows(samples) if row.predicted != 1]  # type: ignore[operator]
        return sorted([*others, *random_rows(samples)], key=lambda row: row.id)

    first, second = make_store(tmp_path / "a", 8, rows=rows), make_store(tmp_path / "b", 8)
    assert compare(*sides(first, second)).whole.correlation == pytest.approx(1)
