"""Maps that know nothing of the network, which every metric is also told of: random ones, the centre, the input's edges."""

from collections.abc import Sequence

from torch import Tensor

from camtool.metrics import center_maps, edge_maps, random_maps

BASELINES = ("random", "center", "edges")
"""By name; in tables they stand as methods without a layer."""


def baseline_maps(size: Sequence[int] | None, inputs: Tensor | None, *, seed: int = 0) -> dict[str, Tensor]:
    """Return baseline maps (*size) in [0, 1] by name; without inputs there are no edges.

    Args:
        size: of the network's input.
        inputs: (1, c, *size).
        seed: of the random map.

    Example:
        >>> from camtool.evaluation import baseline_maps
        >>> {name: tuple(saliency.shape) for name, saliency in baseline_maps((4, 6), None).items()}
        {'random': (4, 6), 'center': (4, 6)}
    """
    if size is None:
        return {}
    found = {"random": random_maps((1, *size), seed=seed)[0], "center": center_maps((1, *size))[0]}
    if inputs is not None:
        found["edges"] = edge_maps(inputs)[0]
    return found
