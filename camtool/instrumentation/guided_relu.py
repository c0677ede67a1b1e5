"""Guided backpropagation: a ReLU passes a gradient back where the unit was active and the gradient is positive."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from camtool.errors import MethodError

_RELUS = {F.relu, F.relu6, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
"""`F.relu` is what nn.ReLU calls, `F.relu6` nn.ReLU6."""

_CLIPS: dict[Callable[..., Any], tuple[float | None, float | None]] = {
    F.hardtanh: (-1.0, 1.0),
    F.hardtanh_: (-1.0, 1.0),
    torch.clamp: (None, None),
    torch.clamp_: (None, None),
    torch.clip: (None, None),
    Tensor.clamp: (None, None),
    Tensor.clamp_: (None, None),
    Tensor.clip: (None, None),
    Tensor.clip_: (None, None),
    torch.clamp_min: (None, None),
    torch.clamp_min_: (None, None),
    Tensor.clamp_min: (None, None),
    Tensor.clamp_min_: (None, None),
}
"""Functions that are a ReLU with the limits 0 and None or 6, with their default limits."""

_THRESHOLDS = {F.threshold, torch.threshold, torch.threshold_}

_ACTIVATIONS = ("silu", "gelu", "hardswish", "mish", "elu", "selu", "celu", "leaky_relu", "prelu", "rrelu", "softplus", "glu")
_OTHERS = {
    getattr(home, name): name.rstrip("_")
    for home in (F, torch)
    for activation in _ACTIVATIONS
    for name in (activation, f"{activation}_")
    if hasattr(home, name)
}
"""Activations without a guided rule. Sigmoid, hard sigmoid, softmax and tanh are left out: beside ReLUs they are gates and weights."""


ACTIVATIONS = ("relu", "relu6", "threshold", "clamp", "clip", "clamp_min", "hardtanh", *_ACTIVATIONS)
"""Names of all these functions."""


class GuidedReLUs(TorchFunctionMode):
    """Hooks the output of every ReLU called while entered, module or function, in place or not, and can guide gradients through it.

    The hooks are on tensors of this forward pass only; no module is hooked or replaced. Outside of `guiding()` backward passes are
    ordinary, so that one forward pass serves ordinary and guided gradients.

    Springenberg et al. 2014, arXiv:1412.6806, sec. 3.4. ReLU6, `clamp(min=0)` and `clamp(0, 6)` count as ReLUs: the rule is the
    same where the unit is not clipped. Equal to pytorch-grad-cam on networks of nn.ReLU; it does not guide the others.

    Args:
        scripted: name of a scripted part of the network that has activations, which are not seen.
    """

    def __init__(self, scripted: str = "") -> None:
        super().__init__()
        self._scripted = scripted
        self.relus = 0
        """Number of ReLU calls."""
        self.others: Counter[str] = Counter()
        """Number of calls of activations without a rule, by name."""
        self._guiding = False

    def __enter__(self) -> "GuidedReLUs":
        super().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function, and register a gradient hook on the output of each ReLU."""
        output = func(*args, **(kwargs or {}))
        if func in _OTHERS:
            self.others[_OTHERS[func]] += 1
        elif _is_relu(func, args[1:], kwargs or {}):
            self.relus += 1
            if output.requires_grad:
                # On the output, so that autograd's own mask (active or not) comes behind it; registered now, so that later in-place
                # operations on the output do not move it.
                output.register_hook(self._guided)
        return output

    @contextmanager
    def guiding(self) -> Iterator[None]:
        """Apply the guided rule to backward passes inside the block.

        Raises:
            MethodError: if the network has activations without a rule, or no ReLU, or some that are not seen.
        """
        if self._scripted:
            raise MethodError(
                f"The part '{self._scripted}' of the network is scripted (torch.jit), and its activations are not seen, so that they "
                "cannot be guided. Use the nn.Module that it was scripted from, or 'gradcam'."
            )
        if self.others:
            named = ", ".join(f"{name} ({count} times)" for name, count in sorted(self.others.items()))
            raise MethodError(
                f"Guided backpropagation is defined for networks of ReLU; this one runs {named}, for which there is no rule. "
                "Use 'gradcam', or 'layercam' at an early layer for a finer map."
            )
        if not self.relus:
            raise MethodError(
                "Guided backpropagation is defined for networks of ReLU; this one calls none, neither as module nor as function. "
                "Use 'gradcam', or 'layercam' at an early layer for a finer map."
            )
        self._guiding = True
        try:
            yield
        finally:
            self._guiding = False

    def _guided(self, gradient: Tensor) -> Tensor | None:
        return gradient.clamp(min=0) if self._guiding else None


def _is_relu(func: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    """Return whether `func`, with these arguments behind its input, is max(input, 0), possibly clipped at 6."""
    if func in _RELUS:
        return True
    first, second = (*arguments, None, None)[:2]
    if func in _THRESHOLDS:
        return bool(keywords.get("threshold", first) == 0 and keywords.get("value", second) == 0)
    if func not in _CLIPS:
        return False
    lowest, highest = _CLIPS[func]
    low = keywords.get("min", keywords.get("min_val", lowest if first is None else first))
    high = keywords.get("max", keywords.get("max_val", highest if second is None else second))
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return False
    return low == 0 and high in (None, 6)  # clipped at 1 it is a gate: a hard sigmoid
