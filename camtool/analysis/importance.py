"""Importance of channels over a data set: All, Target and Diff."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from camtool.analysis.sources import Source, with_map
from camtool.errors import DataError
from camtool.store import Store

NO_SAMPLE = "no sample of this class"
NO_CORRECT_SAMPLE = "no correctly predicted sample of this class"

_COLUMNS = ("id", "label", "predicted", "target", "importances", "min", "max")


class NoImportancesError(DataError):
    """A store, or a method, without importances: it weighs no channels, or they were not asked for."""


@dataclass(frozen=True)
class Importance:
    """Mean importance of the channels of a target layer; v_c of a sample is the sum over positions of w_c A_c.

    Li et al., arXiv:2407.01142. By default only correctly predicted samples count; of a network without classes (regression) all.
    """

    every: Float[np.ndarray, " c"]
    """All: mean over the samples that count."""
    target: Float[np.ndarray, "k c"]
    """Target: mean over the samples of each class; NaN where there is none."""
    samples: Int[np.ndarray, " k"]
    """By class the number of samples that count."""
    count: int
    """Number of samples that count, those of no class included."""
    left_out: int
    """Number of samples without a map or without importances."""
    wrong: int
    """Number of samples that do not count: predicted wrongly, or without a label, or whose own class was not explained."""
    reasons: Mapping[int, str] = field(default_factory=dict)
    """Why a class is NaN, by its index."""

    @property
    def difference(self) -> Float[np.ndarray, "k c"]:
        """Diff: Target - All."""
        return self.target - self.every

    def csv(self, class_names: Sequence[str] | None = None) -> dict[str, str]:
        """Return the tables All, Target and Diff as CSV: a row a class, with index, name, samples, reason, and a column a channel."""

        def name_of(index: int) -> str:
            return class_names[index] if class_names is not None and index < len(class_names) else ""

        labels = [(k, name_of(k), int(self.samples[k]), self.reasons.get(k, "")) for k in range(len(self.target))]
        return {
            "All": _csv([("all", "", self.count, "")], self.every[None]),
            "Target": _csv(labels, self.target),
            "Diff": _csv(labels, self.difference),
        }


def importance(store: Store, source: Source, *, all_samples: bool = False, classes: int | None = None) -> Importance:
    """Return the importance of the channels of a method's target layer, from the column `importances`, a shard at a time.

    One vector a sample: of its row that explains its own class. A sample's class is its label, without labels the predicted class.

    Args:
        all_samples: count those that are predicted wrongly, too; of them the row for the label, else that for the predicted class.
        classes: number of classes; None: that of the run's class names, else as many as there are in the rows.

    Raises:
        NoImportancesError: if the store, or every row of this method, has none.
        DataError: if they are of another number of channels in some rows, or no sample counts.
    """
    sums: dict[int | None, np.ndarray] = {}
    counts: dict[int | None, int] = {}
    left_out = wrong = 0
    names = store.run.get("class_names")
    highest = (len(names) if names else 0) - 1
    for rows in _samples(store, source):
        found = [row for row in rows if row["importances"] is not None]
        if not found:
            left_out += 1
            continue
        highest = max([highest, *(row[name] for row in rows for name in ("label", "predicted", "target") if row[name] is not None)])
        row = _own(found, all_samples=all_samples)
        if row is None:
            wrong += 1
            continue
        vector = np.asarray(row["importances"], dtype=np.float64)
        if sums and len(vector) != len(next(iter(sums.values()))):
            raise DataError(
                f"Expected importances of {len(next(iter(sums.values())))} channels in every row of {source}, got {len(vector)} in that of "
                f"sample {row['id']}."
            )
        label = row["label"] if row["label"] is not None and row["predicted"] is not None else row["predicted"]
        sums[label] = sums[label] + vector if label in sums else vector
        counts[label] = counts.get(label, 0) + 1
    if not sums and not wrong:
        raise NoImportancesError(
            f"No row of {source} in '{store.folder}' has importances; expected a method that weighs channels, such as gradcam."
        )
    if not sums:
        raise DataError(
            f"No sample of '{store.folder}' counts for the importance of {source}: {wrong} predicted wrongly, without a label, or "
            f"explained for another class, {left_out} without a map; try --all-samples."
        )
    return _means(sums, counts, classes or highest + 1, left_out, wrong, NO_SAMPLE if all_samples else NO_CORRECT_SAMPLE)


def _means(
    sums: Mapping[int | None, np.ndarray], counts: Mapping[int | None, int], classes: int, left_out: int, wrong: int, why: str
) -> Importance:
    channels, count = len(next(iter(sums.values()))), sum(counts.values())
    target = np.full((classes, channels), np.nan)
    samples = np.zeros(classes, dtype=np.int64)
    for label, total in sums.items():
        if label is not None:
            target[label], samples[label] = total / counts[label], counts[label]
    reasons = {k: why for k in range(classes) if not samples[k]}
    return Importance(sum(sums.values(), np.zeros(channels)) / count, target, samples, count, left_out, wrong, reasons)


def _samples(store: Store, source: Source) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of one sample after the other; a sample's rows are in one shard, behind each other."""
    if not store.run.get("importances"):
        raise NoImportancesError(f"The store '{store.folder}' has no importances; expected one of 'camtool run --importances'.")
    for table in source.rows(store).tables(_COLUMNS):
        kept = with_map(table)
        rows: list[dict[str, Any]] = []
        for row, has_map in zip(table.to_pylist(), kept, strict=True):
            if rows and row["id"] != rows[0]["id"]:
                yield rows
                rows = []
            rows.append(row if has_map else {**row, "importances": None})
        if rows:
            yield rows


def _own(rows: Sequence[dict[str, Any]], *, all_samples: bool) -> dict[str, Any] | None:
    """Return the row of a sample that explains its own class; None if the sample does not count."""
    label, predicted = rows[0]["label"], rows[0]["predicted"]
    if predicted is None:  # no classes: regression
        return rows[0]
    if not all_samples and label != predicted:
        return None
    return next((row for wanted in (label, predicted) for row in rows if wanted is not None and row["target"] == wanted), None)


def _csv(labels: Sequence[tuple[Any, str, int, str]], values: Float[np.ndarray, "k c"]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["class", "name", "samples", "reason", *range(values.shape[1])])
    writer.writerows([*label, *map(repr, row)] for label, row in zip(labels, values.tolist(), strict=True))
    return buffer.getvalue()
