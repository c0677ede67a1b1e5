"""Positions filled in from their neighbours, by ROAD's sparse linear system: conjugate gradients for a whole batch, of any rank."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from camtool.errors import DataError

MOST_PASSES = 5000
_LOOK = 4  # passes between two looks at the remaining error, for which a GPU has to wait
_VALUES_AT_ONCE = 1 << 18  # on a CPU: what its cache holds

_Operator: TypeAlias = Callable[[Tensor], Tensor]


def imputed(
    inputs: Float[Tensor, "n c *spatial"], removed: Bool[Tensor, "n *spatial"], *, tolerance: float = 1e-5
) -> Float[Tensor, "n c *spatial"]:
    """Return the inputs with every removed position the weighted mean of its neighbours, removed ones included, channel by channel.

    Rong et al. 2022, arXiv:2202.00449 (ROAD), eq. 5: of a picture's eight neighbours the four at an edge weigh 1/6 and the four at a
    corner 1/12; at the border those that exist, by their sum. In general a neighbour at k axes weighs half of one at k - 1 axes: the
    binomial kernel 1 2 1 along each axis without its centre.

    The system is symmetric and positive definite. Conjugate gradients with a preconditioner of several resolutions (Bramble, Pasciak
    & Xu 1990, doi:10.1090/S0025-5718-1990-1023042-6), whose passes hardly depend on the size of a hole.

    Args:
        removed: at least one position of each sample must stay.
        tolerance: of the estimated error, in shares of the input's largest absolute value; float32 reaches about 1e-6.

    Raises:
        DataError: if nothing of a sample stays, or the tolerance is not reached in 5000 passes.

    Example:
        >>> import torch
        >>> signal = torch.tensor([[[0.0, 9.0, 9.0, 3.0, 9.0]]], dtype=torch.float64)
        >>> imputed(signal, torch.tensor([[False, True, True, False, True]]), tolerance=1e-9).round(decimals=6)
        tensor([[[0., 1., 2., 3., 3.]]], dtype=torch.float64)
    """
    if removed.flatten(1).all(dim=1).any():
        raise DataError("Expected a position of each sample to fill the others from, got a sample with none; remove less.")
    rows = len(inputs) if inputs.device.type != "cpu" else max(_VALUES_AT_ONCE // inputs[0].numel(), 1)
    precise = inputs if inputs.dtype == torch.float64 else inputs.float()
    parts = [_solved(*some, tolerance) for some in zip(precise.split(rows), removed.unsqueeze(1).split(rows), strict=True)]
    return torch.cat(parts).to(inputs.dtype)


def _solved(inputs: Tensor, removed: Tensor, tolerance: float) -> Tensor:
    unknown = removed.to(inputs.dtype)
    system, known = _system(unknown)
    axes = tuple(range(2, inputs.ndim))
    residual = _neighbours(inputs * (1 - unknown)).mul_(unknown)
    precondition = _preconditioner(unknown, known)
    found = torch.zeros_like(inputs)
    error = precondition(residual)
    direction = error.clone()
    product = (residual * error).sum(axes, keepdim=True)
    least = torch.finfo(inputs.dtype).tiny  # of channels that are solved: 0 / 0
    limits = tolerance * inputs.abs().amax(dim=tuple(range(1, inputs.ndim)))
    for number in range(MOST_PASSES):
        if number % _LOOK == 0 and bool((error.abs().flatten(1).amax(dim=1) <= limits).all()):
            return torch.where(removed, found, inputs)
        image = system(direction)
        step = product / (direction * image).sum(axes, keepdim=True).clamp(min=least)
        found.addcmul_(step, direction)
        residual.addcmul_(-step, image)
        error = precondition(residual)
        before, product = product, (residual * error).sum(axes, keepdim=True)
        direction.mul_(product / before.clamp(min=least)).add_(error)
    raise DataError(f"The removed positions could not be filled to {tolerance:g} in {MOST_PASSES} passes; try a larger tolerance.")


def _system(unknown: Tensor) -> tuple[_Operator, Tensor]:
    """Return the matrix's product with values that are zero at known positions, and each unknown position's weight of known ones."""
    weight = _neighbours(torch.ones_like(unknown[:1]))
    known = _neighbours(1 - unknown).mul_(unknown)
    return lambda values: (weight * values).sub_(_neighbours(values)).mul_(unknown), known


def _neighbours(values: Tensor) -> Tensor:
    """Return the weighted sum of each position's neighbours; all weights inside sum to 1."""
    total = values
    for axis in range(2, values.ndim):
        line = 2 * total
        inner = line.shape[axis] - 1
        line.narrow(axis, 1, inner).add_(total.narrow(axis, 0, inner))
        line.narrow(axis, 0, inner).add_(total.narrow(axis, 1, inner))
        total = line
    centre = 2 ** (values.ndim - 2)
    return total.sub_(values, alpha=centre).div_(centre**2 - centre)


def _preconditioner(unknown: Tensor, known: Tensor) -> _Operator:
    """Return an approximate inverse: at every resolution the residual over the matrix's diagonal there, all summed."""
    weight = _neighbours(torch.ones_like(unknown[:1]))
    axes = unknown.ndim - 2
    scales = [unknown / weight.clamp(min=torch.finfo(weight.dtype).tiny)]
    while max(known.shape[2:]) > 2:
        known = _coarser(known)
        # A smooth bump's edges, and what ties it to known positions.
        scales.append(1 / (2.0 ** (len(scales) * (axes - 2)) + known))

    def apply(residual: Tensor) -> Tensor:
        levels = [residual]
        for _ in scales[1:]:
            levels.append(_coarser(levels[-1]))
        total = levels[-1] * scales[-1]
        for level, scale in zip(levels[-2::-1], scales[-2::-1], strict=True):
            total = _finer(total, level.shape).addcmul_(level, scale)
        return total.mul_(unknown)

    return apply


def _coarser(values: Tensor) -> Tensor:
    """Return sums of every second position and half of its two neighbours along each axis: the transpose of `_finer`."""
    for axis in range(2, values.ndim):
        even, odd = _every_second(values, axis, 0).clone(), _every_second(values, axis, 1)
        inner = even.shape[axis] - 1
        even.narrow(axis, 0, odd.shape[axis]).add_(odd, alpha=0.5)
        even.narrow(axis, 1, inner).add_(odd.narrow(axis, 0, inner), alpha=0.5)
        values = even
    return values


def _finer(values: Tensor, shape: torch.Size) -> Tensor:
    """Return the values interpolated linearly to every second position's neighbours along each axis."""
    for axis in range(values.ndim - 1, 1, -1):
        fine = values.new_empty([*values.shape[:axis], shape[axis], *values.shape[axis + 1 :]])
        _every_second(fine, axis, 0).copy_(values)
        odd = _every_second(fine, axis, 1)
        inner = values.shape[axis] - 1
        odd.copy_(values.narrow(axis, 0, odd.shape[axis])).mul_(0.5)
        odd.narrow(axis, 0, inner).add_(values.narrow(axis, 1, inner), alpha=0.5)
        values = fine
    return values


def _every_second(values: Tensor, axis: int, first: int) -> Tensor:
    return values[(*[slice(None)] * axis, slice(first, None, 2))]
