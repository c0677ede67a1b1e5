"""Non-negative matrix factorization of activations; the only file that knows scikit-learn."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError, warn
from camtool.functional import to_float32
from camtool.types import Maps

ITERATIONS = 200
"""scikit-learn's and pytorch-grad-cam's."""


@dataclass(frozen=True)
class Factors:
    """activations ≈ sum over components of map times vector, plus `offset`; the component that explains most comes first."""

    maps: Float[Tensor, "n k *spatial"]
    """How strongly each component is at each position; 0 or more, at most 1, which each reaches somewhere in the batch."""
    vectors: Float[Tensor, "k c"]
    """What each component looks like in channels, where it is strongest; `offset` is to be added for a feature of the network."""
    offset: Float[Tensor, " c"]
    """The least value of each channel over the batch: what had to be subtracted to make the activations non-negative."""


def factorize(activations: Maps, components: int, *, seed: int = 0, iterations: int = ITERATIONS) -> Factors:
    """Return the non-negative factors of a batch's activations: A - min A ≈ W H, least squares (Collins et al. 2018, eq. 1).

    Collins et al. 2018, arXiv:1806.10206. All samples are factorized together, so that a component means the same in each. Equal to
    pytorch-grad-cam's `dff` up to two things a factorization leaves open: the order, here by how much a component explains, and the
    scale, here such that each map's largest value is 1; there both are as the random start had it.

    Raises:
        MethodError: if scikit-learn is not installed, or `components` is not between 1 and the smaller of channels and positions.
    """
    try:
        from sklearn.decomposition import NMF
        from sklearn.exceptions import ConvergenceWarning
    except ImportError as error:
        raise MethodError('Deep feature factorization needs scikit-learn: pip install "camtool[dff]".') from error
    count, grid = activations.shape[0], activations.shape[2:]
    points = to_float32(activations.detach()).transpose(0, 1).flatten(1)  # (c, n positions)
    most = min(points.shape)
    if not 1 <= components <= most:
        found = f"{points.shape[0]} channels at {points.shape[1]} positions"
        raise MethodError(f"Expected 1 to {most} components, of {found}; got {components}.")
    offset = points.amin(dim=1)
    nmf = NMF(n_components=components, init="random", random_state=seed, max_iter=iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        left = nmf.fit_transform((points - offset.unsqueeze(1)).cpu().numpy())  # (c, k)
    if nmf.n_iter_ >= iterations:
        warn(f"The factorization was still improving after {iterations} iterations; more of them may change the concepts a little.")
    right: np.ndarray = nmf.components_  # (k, n positions)
    explained = left.sum(axis=0) * right.sum(axis=1)
    order = np.argsort(-explained, kind="stable")
    maps = torch.from_numpy(right[order]).to(points)
    vectors = torch.from_numpy(left[:, order].T.copy()).to(points)
    peaks = maps.amax(dim=1, keepdim=True)
    scale = torch.where(peaks > 0, peaks, 1)  # a component that died out stays zero
    return Factors((maps / scale).reshape(components, count, *grid).transpose(0, 1).contiguous(), vectors * scale, offset)
