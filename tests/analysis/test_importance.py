"""Importance of channels, the seven selections, groups and clusters of classes, against literal replicas and by hand."""

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from camtool.analysis.grouping import cluster_classes, group_maps
from camtool.analysis.importance import NO_CORRECT_SAMPLE, Importance, NoImportancesError, importance
from camtool.analysis.selection import MODES, masks_of, selection_masks
from camtool.analysis.sources import Source, sources
from camtool.errors import DataError
from camtool.store.schema import Row
from tests.analysis.stores import random_rows, write_store

HERE = Source("gradcam", "layer4")


def _row(number: int, label: int | None, predicted: int | None, target: int | None, values: list[float] | None) -> Row:
    return Row(
        number,
        f"{number}.png",
        method="gradcam",
        label=label,
        predicted=predicted,
        target=target,
        layer="layer4",
        map=torch.ones(2, 2),
        importances=None if values is None else torch.tensor(values),
    )


def _replica(rows: list[Row], classes: int, *, all_samples: bool) -> tuple[list[float], list[list[float]]]:
    """Return All and Target, literally: collect the vectors, then average."""
    every, by_class = [], [[] for _ in range(classes)]
    for row in rows:
        if row.map is None or row.importances is None or row.label is None or (row.label != row.predicted and not all_samples):
            continue
        vector = row.importances.double().tolist()
        every.append(vector)
        by_class[row.label].append(vector)
    channels = len(every[0])

    def mean(vectors: list[list[float]]) -> list[float]:
        return [math.fsum(v[c] for v in vectors) / len(vectors) if vectors else math.nan for c in range(channels)]

    return mean(every), [mean(vectors) for vectors in by_class]


@pytest.mark.parametrize("all_samples", [False, True])
def test_means_are_those_of_a_literal_replica(tmp_path: Path, all_samples: bool) -> None:
    rows = random_rows()
    store = write_store(tmp_path / "store", rows, class_names=["a", "b", "c", "d"])

    found = importance(store, HERE, all_samples=all_samples)

    every, target = _replica(rows, 4, all_samples=all_samples)
    np.testing.assert_allclose(found.every, every, rtol=1e-12)
    np.testing.assert_allclose(found.target, target, rtol=1e-12)
    np.testing.assert_allclose(found.difference, np.array(target) - np.array(every), rtol=1e-12)
    assert found.left_out == 15
    assert found.wrong == (0 if all_samples else 25)
    assert found.count == 150 - found.left_out - found.wrong == found.samples.sum()
    assert found.reasons == {3: "no sample of this class" if all_samples else NO_CORRECT_SAMPLE}


def test_by_hand(tmp_path: Path) -> None:
    rows = [
        _row(0, 0, 0, 0, [1.0, 3.0]),
        _row(1, 0, 0, 0, [3.0, 5.0]),
        _row(2, 1, 1, 1, [8.0, 1.0]),
        _row(3, 2, 1, 1, [100.0, 100.0]),  # wrong
        _row(4, 1, 1, 1, None),
    ]
    found = importance(write_store(tmp_path / "store", rows), HERE)

    assert found.every.tolist() == [4.0, 3.0]
    assert found.target[:2].tolist() == [[2.0, 4.0], [8.0, 1.0]]
    assert found.difference[:2].tolist() == [[-2.0, 1.0], [4.0, -2.0]]
    assert np.isnan(found.target[2]).all()
    assert (found.count, found.wrong, found.left_out) == (3, 1, 1)


def test_a_sample_counts_once_by_the_row_of_its_own_class(tmp_path: Path) -> None:
    rows = [
        _row(0, 1, 1, 0, [1.0]),
        _row(0, 1, 1, 1, [2.0]),
        _row(1, 0, 1, 0, [16.0]),
        _row(1, 0, 1, 1, [32.0]),
    ]
    store = write_store(tmp_path / "store", rows)

    assert importance(store, HERE).every.tolist() == [2.0]
    assert importance(store, HERE, all_samples=True).every.tolist() == [9.0]


def test_a_network_without_classes_has_all_only(tmp_path: Path) -> None:
    rows = [_row(0, None, None, None, [1.0]), _row(1, None, None, None, [5.0])]

    found = importance(write_store(tmp_path / "store", rows), HERE)

    assert found.every.tolist() == [3.0]
    assert found.target.shape == (0, 1)


def test_what_cannot_be_averaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no importances"):
        importance(write_store(tmp_path / "a", [_row(0, 0, 0, 0, None)]), HERE)
    with pytest.raises(DataError, match=r"1 predicted wrongly.*--all-samples"):
        importance(write_store(tmp_path / "b", [_row(0, 0, 1, 1, [1.0])]), HERE)
    with pytest.raises(DataError, match=r"1 predicted wrongly, without a label"):
        importance(write_store(tmp_path / "c", [_row(0, None, 1, 1, [1.0])]), HERE)
    with pytest.raises(DataError, match="of 1 channels in every row"):
        importance(write_store(tmp_path / "d", [_row(0, 0, 0, 0, [1.0]), _row(1, 0, 0, 0, [1.0, 2.0])]), HERE)


def test_a_method_that_weighs_no_channels_is_named(tmp_path: Path) -> None:
    rows = [_row(0, 0, 0, 0, [1.0]), replace(_row(1, 0, 0, 0, None), method="eigencam")]
    store = write_store(tmp_path / "store", rows)
    with pytest.raises(NoImportancesError, match=r"No row of eigencam at layer4 .* weighs channels"):
        importance(store, Source("eigencam", "layer4"))


def test_tables_are_read_again_by_any_reader(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", random_rows(), class_names=["a,b", 'c"d', "e", "f"])
    found = importance(store, HERE)

    tables = {name: list(csv.reader(io.StringIO(text))) for name, text in found.csv(store.run["class_names"]).items()}

    assert tables["Target"][0] == ["class", "name", "samples", "reason", *map(str, range(8))]
    assert [row[1] for row in tables["Target"][1:]] == ["a,b", 'c"d', "e", "f"]
    assert tables["Diff"][4][2:5] == ["0", NO_CORRECT_SAMPLE, "nan"]
    for name, values in (("All", found.every[None]), ("Target", found.target), ("Diff", found.difference)):
        np.testing.assert_array_equal(np.array([row[4:] for row in tables[name][1:]], dtype=float), values)


def _selected(mode: str, target: list[list[float]], every: list[float], ratio: float, index: list[int]) -> list[list[int]]:
    """Return the masks, literally, channel by channel."""
    channels = len(every)
    n = int(ratio * channels)
    masks = []
    for row in target:
        difference = [abs(value - mean) for value, mean in zip(row, every, strict=True)]
        ordered = row if mode == "top" else difference
        ranked = sorted(range(channels), key=[-value for value in ordered].__getitem__)[:n]
        kept = {
            "all": list(range(channels)),
            "max": [c for c in range(channels) if row[c] == max(row)],
            "top": ranked,
            "freq": [c for c in range(channels) if row[c] > ratio],
            "diff_top": ranked,
            "reverse_diff_top": [c for c in range(channels) if c not in ranked],
            "index": index,
        }[mode]
        masks.append([int(c in kept) for c in range(channels)])
    return masks


@pytest.mark.parametrize("mode", MODES)
def test_selections_are_those_of_a_literal_replica(mode: str) -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        target = random.integers(-4, 5, (3, 10)) / 4  # with ties
        found = Importance(target.mean(axis=0), target, np.ones(3, dtype=np.int64), count=3, left_out=0, wrong=0)
        ratio = float(random.choice([0.1, 0.25, 0.3, 0.5, 1.0]))

        masks = selection_masks(found, mode, ratio=ratio, index=[1, 4])

        assert masks.astype(int).tolist() == _selected(mode, target.tolist(), found.every.tolist(), ratio, [1, 4])


def test_a_share_of_channels_is_not_lost_to_rounding() -> None:
    target = np.arange(100.0)[None]
    found = Importance(target[0], target, np.ones(1, dtype=np.int64), count=1, left_out=0, wrong=0)

    for percent in range(1, 101):
        assert selection_masks(found, "top", ratio=percent / 100).sum() == percent


def test_a_class_without_importance_has_no_mask_and_is_refused() -> None:
    target = np.array([[1.0, 2.0], [np.nan, np.nan]])
    found = Importance(np.array([1.0, 2.0]), target, np.array([1, 0]), count=1, left_out=0, wrong=0)

    for mode in ("max", "top", "freq", "diff_top", "reverse_diff_top"):
        masks = selection_masks(found, mode, ratio=0.5)
        assert np.isnan(masks[1]).all()
        assert masks_of(masks, [0, 0]).shape == (2, 2)
        with pytest.raises(DataError, match="Class 1 has no importance"):
            masks_of(masks, [0, 1])
    assert masks_of(selection_masks(found, "all"), [1]).tolist() == [[1.0, 1.0]]


def test_bad_selections_are_refused() -> None:
    target = np.ones((1, 4))
    found = Importance(target[0], target, np.ones(1, dtype=np.int64), count=1, left_out=0, wrong=0)
    with pytest.raises(DataError, match="closest: 'diff_top'"):
        selection_masks(found, "difftop")
    for ratio in (-0.1, 1.1, math.nan):
        with pytest.raises(DataError, match="between 0 and 1"):
            selection_masks(found, "top", ratio=ratio)
    with pytest.raises(DataError, match=r"keeps none; try at least 0\.25"):
        selection_masks(found, "diff_top", ratio=0.2)
    assert selection_masks(found, "reverse_diff_top", ratio=0.2).tolist() == [[1.0] * 4]
    for index in ([], [4], [-5]):
        with pytest.raises(DataError, match="channels from 0 to 3"):
            selection_masks(found, "index", index=index)


def test_groups_are_blocks_of_channels_and_sum_to_the_map() -> None:
    contributions = torch.randn(2, 6, 3, 4)
    for groups in (1, 2, 3, 6):
        maps = group_maps(contributions, groups)
        literal = [[sum(contributions[n, c] for c in range(g * 6 // groups, (g + 1) * 6 // groups)) for g in range(groups)] for n in (0, 1)]
        torch.testing.assert_close(maps, torch.stack([torch.stack(row) for row in literal]))
        torch.testing.assert_close(maps.sum(dim=1), contributions.sum(dim=1))
    for groups in (0, 4, 7):
        with pytest.raises(DataError, match="divides 6 channels"):
            group_maps(contributions, groups)


def test_clusters_of_classes_must_add_up() -> None:
    maps = torch.randn(2, 43, 3)
    sizes = [15, 15, 3, 10]
    clusters = cluster_classes(maps, sizes)
    starts = [0, 15, 30, 33, 43]
    for k in range(4):
        torch.testing.assert_close(clusters[:, k], sum(maps[:, c] for c in range(starts[k], starts[k + 1])))
    for wrong in ([], [43, 0], [42], [44], [50, -7]):
        with pytest.raises(DataError, match="add up to 43 classes"):
            cluster_classes(maps, wrong)


def test_every_method_and_layer_is_found_once_in_order(tmp_path: Path) -> None:
    rows = random_rows(8, methods=("b", "a"), layers=("y", "x"))
    store = write_store(tmp_path / "store", rows)

    assert sources(store) == [Source("b", "y"), Source("b", "x"), Source("a", "y"), Source("a", "x")]
    assert sources(store, ["a"], ["x"]) == [Source("a", "x")]
