"""Two stores of the same samples compared: predictions, and how alike the maps are, by class and sample."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from camtool.analysis.map_distances import energy_distance
from camtool.analysis.sources import Source
from camtool.errors import DataError, times
from camtool.metrics.rank_correlation import spearman
from camtool.store import MapRow, Store

_MOST_CELLS = 64  # by axis: maps of the input's size need not be compared pixel by pixel


@dataclass(frozen=True)
class Side:
    """A store, and which of its maps are compared."""

    store: Store
    source: Source

    def samples(self) -> Iterator[MapRow]:
        """Yield a row of each sample: that of the predicted class, else the first; one without a map where there is none."""
        rows: list[MapRow] = []
        for row in self.source.rows(self.store):
            if rows and rows[0]["id"] != row["id"]:
                yield _chosen(rows)
                rows = []
            rows.append(row)
        if rows:
            yield _chosen(rows)


@dataclass(frozen=True)
class Pair:
    """A sample of both stores."""

    first: dict[str, Any]
    second: dict[str, Any]
    """Their rows, without the maps."""
    correlation: float
    """Spearman's, of the two maps; NaN where one of them is constant."""


@dataclass(frozen=True)
class ClassComparison:
    """The samples of a class."""

    label: int | None
    """None: those whose class is not known, or all samples."""
    samples: int
    agreement: float
    """Share of equal predictions, in [0, 1]; NaN where none are known."""
    accuracies: tuple[float, float]
    """Share of right predictions in each store; NaN without labels."""
    correlation: float
    """Mean of the samples' rank correlations; NaN where none is defined."""
    distance: float
    """Energy distance of the two sets of maps, each map over its largest absolute value."""


@dataclass(frozen=True)
class Comparison:
    """What two stores have in common, and where they differ."""

    whole: ClassComparison
    classes: list[ClassComparison]
    """By label, ascending; those without one last."""
    pairs: list[Pair]
    """Those of the lowest correlation first, those without one last."""
    unmatched: tuple[int, int]
    """Samples of each store that the other lacks."""
    without_map: int
    """Samples in both that lack a map in one."""
    size: tuple[int, ...]
    """Cells by axis at which maps were compared."""


def compare(first: Side, second: Side) -> Comparison:
    """Return the comparison of two stores' samples, matched by digest, or by path where one has none.

    Maps are resized to one size, each cell where it lies on the input.

    Raises:
        DataError: if they have no sample in common that has a map in both, or maps of another number of axes.
    """
    size = _common_size(first, second)
    rows, maps = _read(first, size)
    partners = _Partners(rows)
    pairs: list[Pair] = []
    first_maps, second_maps = [], []
    unmatched = without = 0
    for row in second.samples():
        place = partners.take(row)
        if place is None:
            unmatched += 1
            continue
        own = maps[place]
        if own is None or row.map is None:
            without += 1
            continue
        other = _flat(row, size)
        first_maps.append(own)
        second_maps.append(other)
        pairs.append(Pair(rows[place], dict(row.values), float(spearman(own[None], other[None])[0])))
    if not pairs:
        raise DataError(
            f"The stores '{first.store.folder}' and '{second.store.folder}' have no sample in common that has a map in both; expected two "
            "runs over the same data."
        )
    labels = [_label(pair) for pair in pairs]
    known = sorted({label for label in labels if label is not None})
    stacked = np.stack(first_maps), np.stack(second_maps)
    wanted: list[int | None] = [*known, *([None] if None in labels else [])]
    classes = [_of_class(label, [k for k, own in enumerate(labels) if own == label], pairs, stacked) for label in wanted]
    order = sorted(range(len(pairs)), key=lambda k: (np.isnan(pairs[k].correlation), pairs[k].correlation))
    whole = _of_class(None, range(len(pairs)), pairs, stacked)
    return Comparison(whole, classes, [pairs[k] for k in order], (partners.left, unmatched), without, size)


class _Partners:
    """Finds a sample's row of the first store; each is found once."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows = rows
        self._free = set(range(len(rows)))
        self._by: dict[str, dict[str, list[int]]] = {"digest": {}, "path": {}}
        for place, row in enumerate(rows):
            for name, places in self._by.items():
                if row[name] is not None:
                    places.setdefault(row[name], []).append(place)

    @property
    def left(self) -> int:
        """How many rows were not found."""
        return len(self._free)

    def take(self, row: MapRow) -> int | None:
        """Return the place of the partner: of the same content, and of these that of the same path; None if there is none."""
        same = [place for place in self._by["digest"].get(row["digest"], []) if place in self._free]
        if not same:
            named = self._by["path"].get(row["path"], [])
            same = [k for k in named if k in self._free and None in (row["digest"], self._rows[k]["digest"])]
        if not same:
            return None
        found = next((place for place in same if self._rows[place]["path"] == row["path"]), same[0])
        self._free.discard(found)
        return found


def _chosen(rows: Sequence[MapRow]) -> MapRow:
    with_map = [row for row in rows if row.map is not None]
    return next((row for row in with_map if row["target"] == row["predicted"]), (with_map or list(rows))[0])


def _common_size(first: Side, second: Side) -> tuple[int, ...]:
    """Return the size of the finer maps."""
    shapes = []
    for side in (first, second):
        shape = next((tuple(row.map.shape) for row in side.samples() if row.map is not None), None)
        if shape is None:
            raise DataError(f"The store '{side.store.folder}' has no maps of {side.source}.")
        shapes.append(shape)
    if len(shapes[0]) != len(shapes[1]):
        raise DataError(f"Expected maps of one number of axes, got {times(shapes[0])} and {times(shapes[1])}.")
    return tuple(min(max(pair), _MOST_CELLS) for pair in zip(*shapes, strict=True))


def _read(side: Side, size: tuple[int, ...]) -> tuple[list[dict[str, Any]], list[np.ndarray | None]]:
    rows, maps = [], []
    for row in side.samples():
        rows.append(dict(row.values))
        maps.append(None if row.map is None else _flat(row, size))
    return rows, maps


def _flat(row: MapRow, size: tuple[int, ...]) -> Float[np.ndarray, " p"]:
    """Return a map's values at the common size over their largest absolute value."""
    values = row.resized(size).flatten().double()
    return (values / values.abs().amax().clamp(min=torch.finfo(torch.float64).tiny)).numpy()


def _label(pair: Pair) -> int | None:
    label = pair.first["label"]
    return pair.second["label"] if label is None else label


def _of_class(label: int | None, places: Sequence[int], pairs: Sequence[Pair], maps: tuple[np.ndarray, np.ndarray]) -> ClassComparison:
    chosen = [pairs[place] for place in places]
    both = [(pair.first["predicted"], pair.second["predicted"]) for pair in chosen]
    accuracies = [_mean([_right(_label(pair), row["predicted"]) for pair, row in rows]) for rows in _by_side(chosen)]
    return ClassComparison(
        label,
        len(chosen),
        _mean([float(own == other) for own, other in both if None not in (own, other)]),
        (accuracies[0], accuracies[1]),
        _mean([pair.correlation for pair in chosen]),
        energy_distance(maps[0][list(places)], maps[1][list(places)]),
    )


def _by_side(pairs: Sequence[Pair]) -> list[list[tuple[Pair, dict[str, Any]]]]:
    return [[(pair, pair.first) for pair in pairs], [(pair, pair.second) for pair in pairs]]


def _right(label: int | None, predicted: int | None) -> float:
    return float("nan") if label is None or predicted is None else float(label == predicted)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
