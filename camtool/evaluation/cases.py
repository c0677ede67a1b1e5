"""What is scored, a map of a sample by a method or a baseline, and its score by a metric."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from camtool.analysis.sources import Source, sources
from camtool.analysis.stored_samples import StoredSample
from camtool.apis.stored_pictures import scaled_map
from camtool.errors import DataError
from camtool.store import MapRow, Store
from camtool.store.reader import rows_of
from camtool.store.scores import ScoreRow


@dataclass(frozen=True)
class Score:
    """A map's score, with the curves it is made of, or with counts for the data set; or why there is none."""

    value: float | None = None
    fractions: np.ndarray | None = None
    curve: np.ndarray | None = None
    lerf: np.ndarray | None = None
    counts: np.ndarray | None = None
    reason: str = ""


@dataclass(frozen=True)
class Case:
    """A map that is scored."""

    row: MapRow
    sample: StoredSample | None
    method: str
    layer: str | None
    baseline: Tensor | None = None
    """Map (*size) of a baseline, in place of the row's."""
    reason: str = ""
    """Why there is no score."""

    @property
    def source(self) -> Source | None:
        """Method and layer; None of a baseline."""
        return None if self.layer is None else Source(self.method, self.layer)

    @property
    def size(self) -> tuple[int, ...] | None:
        """Of the network's input."""
        return self.row.input_size

    def saliency(self) -> Tensor:
        """Return the map at the input's size (*size), in [0, 1]."""
        return scaled_map(self.row) if self.baseline is None else self.baseline

    def score_row(self, metric: str, protocol: str, score: Score) -> ScoreRow:
        """Return the row of a score."""
        of_sample: dict[str, Any] = {name: self.row[name] for name in ("id", "path", "label", "target")}
        return ScoreRow(
            **of_sample,
            method=self.method,
            layer=self.layer,
            baseline=self.baseline is not None,
            metric=metric,
            protocol=protocol,
            score=score.value,
            reason=score.reason,
            fractions=None if score.fractions is None else score.fractions.tolist(),
            curve=None if score.curve is None else score.curve.tolist(),
            lerf=None if score.lerf is None else score.lerf.tolist(),
            counts=score.counts,
        )


def together(cases: Mapping[int, Case]) -> list[dict[Source | None, list[int]]]:
    """Return the numbers of cases by method and layer, those together that are of the same samples and classes; None: baselines."""
    numbers: dict[Source | None, list[int]] = {}
    for number, case in cases.items():
        numbers.setdefault(case.source, []).append(number)
    groups: dict[Any, dict[Source | None, list[int]]] = {}
    for source, own in numbers.items():
        explained = tuple((cases[number].row["id"], cases[number].row["target"]) for number in own)
        groups.setdefault(explained if source is not None else None, {})[source] = own
    return list(groups.values())


def explained_sources(store: Store) -> list[Source]:
    """Return the methods and layers of a store that was just made; DataError if no sample could be explained, with the first reason."""
    try:
        return sources(store)
    except DataError:
        row = next((row for number in store.shards for row in rows_of(store.shard(number)) if row.map is None), None)
        if row is None:
            raise
        raise DataError(f"No sample could be explained; '{row['path']}': {why_no_map(row)}") from None


def why_no_map(row: MapRow) -> str:
    """Return why a row has no map; "" if it has one."""
    return "" if row.map is not None else f"{row['status']}: {row['reason']}" if row["reason"] else str(row["status"])
