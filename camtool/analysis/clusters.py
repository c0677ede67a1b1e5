"""Clusters of maps: whether a network looks at one place for some pictures of a class, and at another for others.

The way to find watermarks, borders and hospital tags: Lapuschkin et al., "Unmasking Clever Hans predictors", arXiv:1902.10178.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from camtool.analysis.class_maps import ClassMaps
from camtool.errors import DataError, closest

ALGORITHMS = ("kmeans", "spectral")
EMBEDDINGS = ("pca", "tsne")
_MOST_CLUSTERS = 6  # that are tried where none is asked for
_MOST_SPECTRAL = 5000  # samples: all pairs are compared
_SILHOUETTE_SAMPLES = 2000
_LOOSE = 0.2  # mean silhouette below which there is no cluster but the whole


@dataclass(frozen=True)
class Cluster:
    """Samples of a class whose maps are alike."""

    members: Sequence[int]
    """Positions among the maps, the most typical first: nearest to the cluster's mean map."""
    share: float
    """Of the maps of the class."""
    separation: float
    """Mean silhouette of the members, in [-1, 1]: how much nearer they are to each other than to the next cluster; NaN for one cluster."""
    errors: float
    """Share of the members that are predicted wrongly; NaN without labels."""
    probability: float
    """Mean probability of the explained class; NaN if it is not known."""


def find_clusters(found: ClassMaps, count: int | None = None, *, algorithm: str = "kmeans", seed: int = 0) -> list[Cluster]:
    """Return clusters of maps, the one that stands out most (by its separation) first.

    Args:
        count: number of clusters; None: that of 2 to 6 with the largest mean silhouette, 1 if that is below 0.2.
        algorithm: "kmeans" or "spectral".

    Raises:
        DataError: if there is no such algorithm, or there are fewer different maps than clusters.
    """
    if algorithm not in ALGORITHMS:
        raise DataError(f"No algorithm '{algorithm}'{closest(algorithm, ALGORITHMS)}; expected {' or '.join(ALGORITHMS)}.")
    points = found.maps.double().numpy()
    different = len(np.unique(points, axis=0)) if len(points) else 0
    if count is not None and not 1 <= count <= different:
        raise DataError(f"Expected 1 to {different} clusters of {len(points)} maps, {different} of them different, got {count}.")
    if not different:
        raise DataError(f"Class {found.index} has no map to cluster; {found.left_out} samples of it have none.")
    labels = _labels(points, count, algorithm, seed) if count is not None else _best(points, different, algorithm, seed)
    return _described(found, points, labels)


def _best(points: np.ndarray, different: int, algorithm: str, seed: int) -> Int[np.ndarray, " n"]:
    from sklearn.metrics import silhouette_score

    best, labels = _LOOSE, np.zeros(len(points), dtype=np.int64)
    for count in range(2, min(_MOST_CLUSTERS, different - 1, len(points) - 1) + 1):
        tried = _labels(points, count, algorithm, seed)
        if len(np.unique(tried)) < 2:
            continue
        sample = min(len(points), _SILHOUETTE_SAMPLES)
        quality = float(silhouette_score(points, tried, sample_size=sample, random_state=seed))
        if quality > best:
            best, labels = quality, tried
    return labels


def _labels(points: np.ndarray, count: int, algorithm: str, seed: int) -> Int[np.ndarray, " n"]:
    from sklearn.cluster import KMeans, SpectralClustering

    if count == 1:
        return np.zeros(len(points), dtype=np.int64)
    if algorithm == "kmeans":
        return KMeans(count, n_init=10, random_state=seed).fit_predict(points).astype(np.int64)
    if len(points) > _MOST_SPECTRAL:
        raise DataError(f"Spectral clustering compares all pairs of maps, at most {_MOST_SPECTRAL}, got {len(points)}; try kmeans.")
    if count >= len(points):  # each map is its own
        return np.arange(len(points), dtype=np.int64)
    squares = ((points**2).sum(axis=1)[:, None] + (points**2).sum(axis=1) - 2 * points @ points.T).clip(min=0)
    scale = float(np.median(squares[squares > 0])) if (squares > 0).any() else 1.0
    spectral = SpectralClustering(count, affinity="precomputed", random_state=seed)
    return spectral.fit_predict(np.exp(-squares / scale)).astype(np.int64)


def _described(found: ClassMaps, points: np.ndarray, labels: Int[np.ndarray, " n"]) -> list[Cluster]:
    from sklearn.metrics import silhouette_samples

    numbers = np.unique(labels)
    silhouettes = silhouette_samples(points, labels) if 2 <= len(numbers) < len(points) else np.full(len(points), np.nan)
    clusters = []
    for number in numbers:
        members = np.flatnonzero(labels == number)
        distances = np.linalg.norm(points[members] - points[members].mean(axis=0), axis=1)
        rows = [found.rows[place] for place in members.tolist()]
        wrong = [row["label"] != row["predicted"] for row in rows if row["label"] is not None and row["predicted"] is not None]
        known = [row["probability"] for row in rows if row["probability"] is not None]
        clusters.append(
            Cluster(
                members[np.argsort(distances, kind="stable")].tolist(),
                share=len(members) / len(points),
                separation=float(silhouettes[members].mean()),
                errors=float(np.mean(wrong)) if wrong else math.nan,
                probability=float(np.mean(known)) if known else math.nan,
            )
        )
    return sorted(clusters, key=lambda one: (-one.separation if math.isfinite(one.separation) else 0.0, one.members[0]))


def embedding(found: ClassMaps, kind: str = "pca", *, seed: int = 0) -> Float[np.ndarray, "n 2"]:
    """Return a place in the plane for each map, near each other for maps that are alike: to look at, not to measure.

    Args:
        kind: "pca", the two directions along which maps differ most, or "tsne", neighbours in the plane for neighbours among the maps.

    Raises:
        DataError: if there is no such embedding.
    """
    if kind not in EMBEDDINGS:
        raise DataError(f"No embedding '{kind}'{closest(kind, EMBEDDINGS)}; expected {' or '.join(EMBEDDINGS)}.")
    points = found.maps.double().numpy()
    if kind == "tsne" and len(points) > 3:
        from sklearn.manifold import TSNE

        places = TSNE(2, perplexity=min(30.0, (len(points) - 1) / 3), init="random", random_state=seed).fit_transform(points)
        return places.astype(np.float64)
    centred = points - points.mean(axis=0)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(points), 2))
    kept = min(2, len(lengths))
    # An axis' sign is that of its largest value: it is arbitrary, and libraries differ.
    signs = np.sign(left[np.abs(left[:, :kept]).argmax(axis=0), range(kept)])
    places[:, :kept] = left[:, :kept] * lengths[:kept] * signs
    return places
