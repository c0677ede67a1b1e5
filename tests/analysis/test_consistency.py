"""Sums of maps against scores: Pearson's r, its p and the area under the ROC curve, against literal replicas, libraries and by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from camtool.analysis import Normaliser
from camtool.analysis.consistency import agreements, points
from camtool.analysis.correlation import auroc, pearson
from camtool.analysis.sources import Source
from camtool.errors import DataError
from camtool.store.schema import Row
from camtool.visualization.scatter import Scatter, draw_scatters
from tests.analysis.stores import random_rows, write_store

HERE = Source("gradcam", "layer4")


def _r(first: list[float], second: list[float]) -> float:
    """Return Pearson's r, literally."""
    a, b = math.fsum(first) / len(first), math.fsum(second) / len(second)
    products = math.fsum((x - a) * (y - b) for x, y in zip(first, second, strict=True))
    return products / math.sqrt(math.fsum((x - a) ** 2 for x in first) * math.fsum((y - b) ** 2 for y in second))


def _auroc(scores: list[float], positive: list[bool]) -> float:
    """Return the share of pairs that are in order, ties half."""
    pairs = [(p, n) for p, yes in zip(scores, positive, strict=True) if yes for n, no in zip(scores, positive, strict=True) if not no]
    return sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)


def test_pearson_is_that_of_a_literal_replica_and_of_scipy() -> None:
    from scipy.stats import pearsonr

    random = np.random.default_rng(0)
    for count in (3, 4, 10, 200):
        first = random.standard_normal(count) * 1e6 + 1e7
        second = first * 1e-9 + random.standard_normal(count) * random.choice([1e-2, 1e-4])
        found = pearson(first, second)
        assert found.r == pytest.approx(_r(first.tolist(), second.tolist()), abs=1e-9)
        assert (found.r, found.p) == pytest.approx(tuple(pearsonr(first, second)), rel=1e-6)
        assert found.count == count


def test_pearson_by_hand() -> None:
    assert pearson(np.array([1.0, 2.0, 3.0]), np.array([-2.0, -4.0, -6.0])).r == pytest.approx(-1)
    found = pearson(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0]))
    assert (found.r, found.p) == (0, 1)
    assert pearson(np.array([1.0, 2.0, 3.0, np.nan, 5.0]), np.array([1.0, 2.0, 3.0, 9.0, np.nan])).count == 3


def test_pearson_that_is_not_defined_says_why() -> None:
    few, constant = pearson(np.array([1.0, 2.0]), np.array([1.0, 2.0])), pearson(np.arange(4.0), np.full(4, 0.1))
    assert math.isnan(few.r)
    assert math.isnan(constant.p)
    assert (few.reason, constant.reason) == ("2 samples; expected at least 3", "all values are equal")
    assert pearson(np.arange(4.0), np.zeros(4)).reason == "all values are equal"


def test_auroc_is_that_of_all_pairs_and_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)
    for _ in range(20):
        scores = random.integers(0, 6, 25).astype(float)
        positive = random.random(25) < 0.4
        assert auroc(scores, positive) == pytest.approx(_auroc(scores.tolist(), positive.tolist()), abs=1e-12)
        assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert math.isnan(auroc(scores, np.ones(25, dtype=bool)))
    assert math.isnan(auroc(scores, np.zeros(25, dtype=bool)))


@pytest.mark.parametrize("minus", [False, True])
@pytest.mark.parametrize("kind", ["norm", "tanh", "none"])
def test_sums_are_those_of_the_rescaled_maps(tmp_path: Path, kind: str, minus: bool) -> None:
    rows = random_rows(size=(3, 2, 4))
    store = write_store(tmp_path / "store", rows)
    normaliser = Normaliser(HERE, vmax=4.0, vmin=-3.0, rescale=kind, remove_minus=minus, scale_ratio=1.3)

    found = points(store, normaliser)

    maps = [row.map.double() for row in rows if row.map is not None]
    rescaled = [normaliser(raw[None])[0] for raw in maps]
    np.testing.assert_allclose(found.rescaled, [float(one.sum()) for one in rescaled], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.clipped, [float(one.clamp(0, 1).sum()) for one in rescaled], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        found.own_scale, [float(((raw - raw.min()) / (raw.max() - raw.min() + 1e-7)).sum()) for raw in maps], rtol=1e-9
    )
    assert found.left_out == 15
    assert found.target.tolist() == [row.target for row in rows if row.map is not None]


def test_agreement_is_by_class_and_in_all(tmp_path: Path) -> None:
    rows = random_rows()
    store = write_store(tmp_path / "store", rows)
    normaliser = Normaliser.fit(store)
    kept = [row for row in rows if row.map is not None]

    every, *by_class = agreements(points(store, normaliser))

    assert every.target is None
    assert every.count == len(kept) == sum(one.count for one in by_class)
    assert [one.target for one in by_class] == [0, 1, 2]
    for one in (every, *by_class):
        own = [row for row in kept if one.target in (None, row.target)]
        sums = [float(normaliser(row.map[None].double()).sum()) for row in own if row.map is not None]
        assert one.corr.r == pytest.approx(_r(sums, [row.probability or 0.0 for row in own]), abs=1e-9)
        assert one.corr_logit.r == pytest.approx(_r(sums, [row.logit or 0.0 for row in own]), abs=1e-9)
        rescaled = [normaliser(row.map[None].double()).clamp(0, 1) for row in own if row.map is not None]
        assert one.clipped.r == pytest.approx(_r([float(m.sum()) for m in rescaled], [row.logit or 0.0 for row in own]), abs=1e-9)
        spans = [row.map.double() - row.map.min() for row in own if row.map is not None]
        own_sums = [float((span / (span.max() + 1e-7)).sum()) for span in spans]
        assert one.own_scale.r == pytest.approx(_r(own_sums, [row.logit or 0.0 for row in own]), abs=1e-9)
        assert math.isnan(one.auroc)  # every map is of the predicted class


def test_auroc_is_of_all_samples_against_those_predicted_as_the_class(tmp_path: Path) -> None:
    rows = []
    for number, (high, predicted) in enumerate([(5.0, 0), (4.0, 0), (3.0, 1), (4.5, 1)]):
        for target in (0, 1):
            raw = torch.tensor([[high if target == 0 else 1.0, 0.0]])
            rows.append(
                Row(number, "", "gradcam", predicted=predicted, target=target, probability=0.5, logit=high, layer="layer4", map=raw)
            )
    every, first, second = agreements(points(write_store(tmp_path / "store", rows), Normaliser(HERE, 1.0, 0.0)))

    assert first.auroc == 0.75  # 5 and 4 against 3 and 4.5
    assert second.auroc == 0.5
    assert first.corr.reason == "all values are equal"
    assert every.count == 8


def test_a_normaliser_of_another_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="The normaliser is of"):
        points(write_store(tmp_path / "store", random_rows(10)), Normaliser(Source("gradcam", "layer3"), 1.0, 0.0))


def test_names_of_classes_are_drawn_as_they_are() -> None:
    plot = Scatter(np.arange(4.0), np.arange(4.0), "$a_{", "_b$", "r = 1")
    drawn = draw_scatters([plot, plot], ["$x", "_y", "$x", "z"], heading="$ \\frac{")
    assert drawn[1:4] == b"PNG"
    assert draw_scatters([plot], [str(k) for k in range(4)] * 1)[1:4] == b"PNG"
