"""Derivatives of a network's scores: errors of the backward pass get a note, and networks that overwrite saved tensors are run again."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointError

Result = TypeVar("Result")


def gradients_of(outputs: Tensor, tensors: Sequence[Any] | Tensor, *weights: Tensor, **options: Any) -> tuple[Any, ...]:
    """Return what `torch.autograd.grad` does with these arguments; an error gets a note that the network itself raised it.

    Example:
        >>> import torch
        >>> from camtool.instrumentation.differentiation import gradients_of
        >>> leaf = torch.tensor([2.0, 3.0], requires_grad=True)
        >>> gradients_of((leaf**2).sum(), leaf)
        (tensor([4., 6.]),)
    """
    differentiate: Any = torch.autograd.grad
    try:
        return differentiate(outputs, tensors, *weights, **options)
    except CheckpointError:
        raise
    except Exception as error:
        error.add_note("Raised by the network itself, in the backward pass of its score.")
        raise


def mutations_allowed(compute: Callable[[], Result]) -> Result:
    """Return `compute()`, again with copies of what the network overwrites if that stops its backward pass.

    Heads that work in place on what autograd has saved, such as a detector's on the output of its sigmoid, have no backward pass
    otherwise. The copies cost memory, and a network without such a head does not need them.
    """
    try:
        return compute()
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        return compute()
