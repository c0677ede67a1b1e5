"""Randomisation: do maps change when what the network has learnt is taken away? Adebayo et al., "Sanity checks", arXiv:1810.03292."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.errors import DataError
from camtool.metrics.rank_correlation import spearman

_ROUNDING = 1e-9  # 0.29 * 100 is 28.999999999999996


def randomised(model: nn.Module, fraction: float, *, seed: int = 0) -> nn.Module:
    """Return a copy of a network whose last modules are initialised anew; the network itself and torch's random numbers stay as they are.

    Args:
        fraction: of the modules with `reset_parameters`, in the order in which they were registered; 1 is all of them.

    Raises:
        DataError: if the fraction is not in [0, 1], or is that of no module.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
        >>> other = randomised(model, 0.5)
        >>> bool((other[0].weight == model[0].weight).all()), bool((other[2].weight == model[2].weight).all())
        (True, False)
    """
    if not 0 <= fraction <= 1:
        raise DataError(f"Expected a fraction of the modules between 0 and 1, got {fraction}.")
    changed = copy.deepcopy(model)
    parts = [module for module in changed.modules() if callable(getattr(module, "reset_parameters", None))]
    count = int(fraction * len(parts) + _ROUNDING)
    if fraction > 0 and not count:
        least = f"try at least {1 / len(parts):.3g}" if parts else "the network has none that can be initialised"
        raise DataError(f"A fraction of {fraction} of {len(parts)} modules is that of none; {least}.")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for module in parts[len(parts) - count :]:
            module.reset_parameters()  # type: ignore[operator]
    return changed


def likeness(maps: Float[Tensor, "n *rest"], others: Float[Tensor, "n *rest"], axes: int) -> Float[Tensor, "n *leading"]:
    """Return the rank correlation of each two maps, in [-1, 1]: 1 for the same order of positions; NaN where one of them is constant.

    Args:
        axes: number of the last axes, those of a map.

    Example:
        >>> import torch
        >>> first = torch.tensor([[[0.0, 1.0, 2.0]], [[5.0, 4.0, 0.0]]])
        >>> likeness(first, first.square(), axes=1).tolist()
        [[1.0], [1.0]]
    """
    leading = maps.shape[: maps.ndim - axes]
    flat = [values.detach().double().cpu().reshape(leading.numel(), -1).numpy() for values in (maps, others)]
    return torch.from_numpy(spearman(*flat)).reshape(leading)
