"""Guided backpropagation's rule: a ReLU hands down a gradient where the unit was on and the gradient is positive."""

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
"""What is a ReLU with the right limits, and the limits it has when none are given."""

_THRESHOLDS = {F.threshold, torch.threshold, torch.threshold_}

_ACTIVATIONS = ("silu", "gelu", "hardswish", "mish", "elu", "selu", "celu", "leaky_relu", "prelu", "rrelu", "softplus", "glu")
_OTHERS = {
    getattr(home, name): name.rstrip("_")
    for home in (F, torch)
    for activation in _ACTIVATIONS
    for name in (activation, f"{activation}_")
    if hasattr(home, name)
}
"""Activations without a guided rule. Sigmoid, hard sigmoid, softmax and tanh are not here: beside ReLUs they are gates and weights."""


class GuidedReLUs(TorchFunctionMode):
    """Sees every ReLU that runs while entered, module or function, in place or not, and can guide the gradients through them.

    Only the graph of that forward pass carries anything of it: no module is hooked or replaced. Outside of `guiding()` a backward
    pass is the ordinary one, so that one forward pass serves ordinary gradients and guided ones.

    Springenberg et al. 2014, arXiv:1412.6806, sec. 3.4. ReLU6, `clamp(min=0)` and `clamp(0, 6)` count as ReLUs: theirs is the same
    rule where the unit is not cut off. pytorch-grad-cam, whose numbers these are on networks of nn.ReLU, leaves those others plain.
    """

    def __init__(self) -> None:
        super().__init__()
        self.relus = 0
        """How many ReLUs ran."""
        self.others: Counter[str] = Counter()
        """How often an activation ran for which there is no rule, by name."""
        self._guiding = False

    def __enter__(self) -> "GuidedReLUs":
        super().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run what the network runs, and leave a gradient hook behind each ReLU."""
        output = func(*args, **(kwargs or {}))
        if func in _OTHERS:
            self.others[_OTHERS[func]] += 1
        elif _is_relu(func, args[1:], kwargs or {}):
            self.relus += 1
            if output.requires_grad:
                # Of the output, so that autograd's own mask (on or off) comes behind it; registered now, so that what later works
                # in place on the output does not move it.
                output.register_hook(self._guided)
        return output

    @contextmanager
    def guiding(self) -> Iterator[None]:
        """Let backward passes in here follow the rule.

        Raises:
            MethodError: if the network has activations without a rule, or no ReLU.
        """
        if self.others:
            named = ", ".join(f"{name} ({count} times)" for name, count in sorted(self.others.items()))
            raise MethodError(
                f"Guided backpropagation is defined for networks of ReLU; this one runs {named}, for which its rule has no meaning. "
                "Use 'gradcam', or 'layercam' at an early layer for a finer map."
            )
        if not self.relus:
            raise MethodError(
                "Guided backpropagation is defined for networks of ReLU; none is seen in this one, module or function. "
                "Use 'gradcam', or 'layercam' at an early layer for a finer map."
            )
        self._guiding = True
        try:
            yield
        finally:
            self._guiding = False

    def _guided(self, gradient: Tensor) -> Tensor | None:
        return gradient.clamp(min=0) if self._guiding else None


def _is_relu(func: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Return whether `func`, called with these arguments behind its input, is max(input, 0), perhaps cut off at 6."""
    if func in _RELUS:
        return True
    first, second = (*given, None, None)[:2]
    if func in _THRESHOLDS:
        return bool(named.get("threshold", first) == 0 and named.get("value", second) == 0)
    if func not in _CLIPS:
        return False
    lowest, highest = _CLIPS[func]
    low = named.get("min", named.get("min_val", lowest if first is None else first))
    high = named.get("max", named.get("max_val", highest if second is None else second))
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return False
    return low == 0 and high in (None, 6)  # between 0 and 1 it is a gate: a hard sigmoid
