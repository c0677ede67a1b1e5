"""The operation that a network's scores come from: a softmax or a sigmoid at the end makes probabilities of them."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from camtool.axes import Axes
from camtool.instrumentation.inputs import Name
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.network_inputs import network_inputs
from camtool.targets import OutputName, scores_in

SOFTMAX, SIGMOID = "Softmax", "Sigmoid"

_MAKERS = {"_softmax": SOFTMAX, "sigmoid": SIGMOID, "sigmoid_": SIGMOID}
# Of probabilities they make probabilities: copies, parts, and several heads side by side.
_CARRIERS = {"clone", "_to_copy", "cat", "stack", "index_select", "index", "gather"}
_TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 2e-2}  # of a sum of rounded probabilities; 1e-4 for others


def may_be_probabilities(scores: Tensor) -> bool:
    """Return whether all scores lie in [0, 1]; logits hardly ever do.

    Example:
        >>> may_be_probabilities(torch.tensor([[0.2, 0.8]])), may_be_probabilities(torch.tensor([[-0.1, 0.8]]))
        (True, False)
    """
    return bool(((scores >= 0) & (scores <= 1)).all())


def sum_to_one(scores: Tensor) -> bool:
    """Return whether the rows (n, classes) of two or more classes are non-negative and sum to 1.

    Example:
        >>> sum_to_one(torch.tensor([[0.2, 0.8]])), sum_to_one(torch.tensor([[1.0]]))
        (True, False)
    """
    sums = scores.double().sum(dim=-1)
    return scores.shape[-1] > 1 and bool((scores >= 0).all()) and bool(((sums - 1).abs() < _TOLERANCE.get(scores.dtype, 1e-4)).all())


def last_activation(model: nn.Module, inputs: Any, name: Name = None, axes: str | Axes | None = None, output: OutputName = None) -> str:
    """Return "Softmax" or "Sigmoid" if the network's scores are what such an operation gave, a module's or a function's; else "".

    One forward pass; arguments as of `CAM`.

    Example:
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Softmax(dim=1))
        >>> last_activation(network, torch.zeros(1, 1, 2, 2)), last_activation(network[:2], torch.zeros(1, 1, 2, 2))
        ('Softmax', '')
    """
    prepared = network_inputs(model, inputs, name, axes, output=output)
    with _Makers() as makers, evaluating(model), torch.no_grad():
        scores = scores_in(prepared.run(model), len(prepared.picture))
    return makers.of(scores) if isinstance(scores, Tensor) else ""


class _Makers(TorchDispatchMode):
    """Records which memory holds what a softmax or a sigmoid gave, and nothing that was done to it since."""

    def __init__(self) -> None:
        super().__init__()
        self._maker: dict[int, tuple[str, Tensor]] = {}  # the tensor keeps its memory from being used again

    def of(self, tensor: Tensor) -> str:
        """Return the operation that gave a tensor, or one that it is a view of; "" for others."""
        return self._maker.get(_memory(tensor), ("", tensor))[0]

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func._schema.name.rpartition("::")[2]
        given = list(_tensors((*args, *(kwargs or {}).values())))
        made = _MAKERS.get(name, "")
        if name in _CARRIERS and given:
            # An index is no probability.
            makers = {self.of(tensor) for tensor in given if tensor.is_floating_point()}
            made = makers.pop() if len(makers) == 1 else ""
        for tensor in _tensors((output,)):
            is_view = not func._schema.is_mutable and _memory(tensor) in map(_memory, given)
            if made:
                self._maker[_memory(tensor)] = (made, tensor)
            elif not is_view:
                self._maker.pop(_memory(tensor), None)
        return output


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else id(tensor)


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
