"""Non-negative matrix factorization of activations by scikit-learn."""

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
"""The default of scikit-learn and pytorch-grad-cam."""


@dataclass(frozen=True)
class Factors:
    """Factors of activations ≈ sum over components of map times vector, plus `offset`; the component that explains most first."""

    maps: Float[Tensor, "n k *spatial"]
    """Strength of each component at each position, in [0, 1]; each component's largest value over the batch is 1."""
    vectors: Float[Tensor, "k c"]
    """Each component's channels where it is strongest; add `offset` for a feature vector of the network."""
    offset: Float[Tensor, " c"]
    """The smallest value of each channel over the batch, subtracted to make the activations non-negative."""


def factorize(activations: Maps, components: int, *, seed: int = 0, iterations: int = ITERATIONS) -> Factors:
    """Return the non-negative factors of a batch's activations: A - min A ≈ W H, least squares (Collins et al. 2018, eq. 1).

    Collins et al. 2018, arXiv:1806.10206. All samples are factorized together, so that a component means the same in each. Equal to
    pytorch-grad-cam's `dff` up to the two freedoms of a factorization: the order, here by how much a component explains, and the scale,
    here such that each map's largest value is 1; there both depend on the random start.

    Raises:
        MethodError: if `components` is not between 1 and the smaller of channels and positions.
    """
    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    count, grid = activations.shape[0], activations.shape[2:]
    points = to_float32(activations.detach()).transpose(0, 1).flatten(1)  # (c, n positions)
    most = min(points.shape)
    if not 1 <= components <= most:
        size = f"{points.shape[0]} channels at {points.shape[1]} positions"
        raise MethodError(f"Expected 1 to {most} components, of {size}; got {components}.")
    offset = points.amin(dim=1)
    nmf = NMF(n_components=components, init="random", random_state=seed, max_iter=iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        vectors_by_channel = nmf.fit_transform((points - offset.unsqueeze(1)).cpu().numpy())  # (c, k)
    if nmf.n_iter_ >= iterations:
        warn(f"The factorization has not converged after {iterations} iterations; more iterations may change the concepts slightly.")
    maps_by_component: np.ndarray = nmf.components_  # (k, n positions)
    explained = vectors_by_channel.sum(axis=0) * maps_by_component.sum(axis=1)
    order = np.argsort(-explained, kind="stable")
    maps = torch.from_numpy(maps_by_component[order]).to(points)
    vectors = torch.from_numpy(vectors_by_channel[:, order].T.copy()).to(points)
    peaks = maps.amax(dim=1, keepdim=True)
    scale = torch.where(peaks > 0, peaks, 1)  # a component that is zero everywhere stays zero
    return Factors((maps / scale).reshape(components, count, *grid).transpose(0, 1).contiguous(), vectors * scale, offset)
