"""Where the scores are in what a network returns."""

import warnings
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from jaxtyping import Float
from torch import Tensor

from camtool.errors import CamtoolWarning, TargetError


def find_logits(output: Any, batch: int) -> Float[Tensor, "n *output"]:
    """Return the scores in a network's output: a tensor, `.logits`, `["logits"]`, or the first tensor with the batch in front.

    Raises:
        TargetError: if there is none.
    """
    if isinstance(output, Tensor) and output.is_floating_point():
        if output.shape[:1] == (batch,):
            return output.unsqueeze(1) if output.ndim == 1 else output
        if batch == 1 and output.ndim == 1:
            return output.unsqueeze(0)  # a network that squeezes away a batch of one, as LeNet-5 of mmpretrain
    if isinstance(getattr(output, "logits", None), Tensor):
        return find_logits(output.logits, batch)
    if isinstance(output, dict):
        parts: Iterable[Any] = [output["logits"]] if "logits" in output else output.values()
    else:
        parts = output if isinstance(output, (tuple, list)) else ()
    found_in_parts = []
    for part in parts:
        with suppress(TargetError):
            found_in_parts.append(find_logits(part, batch))
    if found_in_parts:
        # Features may stand beside the scores, which are (n, classes) but for dense outputs.
        flat = [scored for scored in found_in_parts if scored.ndim == 2]
        if len({scored.shape[1] for scored in flat}) > 1:
            widths = ", ".join(str(scored.shape[1]) for scored in flat)
            warnings.warn(f"The network returns scores of {widths} classes; the first are explained.", CamtoolWarning, stacklevel=2)
        return (flat or found_in_parts)[0]
    found = f"{output.dtype} of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise TargetError(f"No scores of {batch} samples in the network's output, {found}; expected floating-point numbers (n, classes).")
