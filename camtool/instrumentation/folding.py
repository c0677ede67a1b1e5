"""Folding of batch norms into the convolutions before them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.readers import Readers, run_noting_calls
from camtool.instrumentation.traversal import modules_of

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold(model: nn.Module, inputs: Inputs, targets: Sequence[nn.Module]) -> None:
    """Fold every batch norm into the convolution before it if both are called once; not at a target layer."""
    convolution_of: dict[int, nn.Module] = {}
    outputs: list[Tensor] = []  # so that no id() is reused
    calls: dict[nn.Module, int] = {}
    readers = Readers()
    pairs: list[tuple[nn.Module, nn.Module, int]] = []

    def note(module: nn.Module, arguments: Any, output: Any) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, _CONVOLUTIONS) and isinstance(output, Tensor):
            outputs.append(output)
            convolution_of[id(output)], readers.of[id(output)] = module, 0
        elif isinstance(module, _NORMS) and isinstance(arguments[0], Tensor) and id(arguments[0]) in convolution_of:
            pairs.append((convolution_of[id(arguments[0])], module, id(arguments[0])))

    with readers:
        run_noting_calls(model, inputs, note)
    within = {part for target in targets for part in modules_of(target)}
    holders = {part: (holder, name) for holder in modules_of(model) for name, part in holder.named_children()}
    for convolution, norm, between in pairs:
        shared = calls[convolution] > 1 or calls[norm] > 1 or readers.of[between] > 1
        # A target layer's own output must not change: a norm behind it is not folded.
        changes_target = convolution in targets or (convolution in within and norm not in within)
        # A weight that a hook computes anew in each call, as torch.nn.utils.weight_norm's, cannot be folded; nor can what a hook reads.
        own = any(hasattr(part, "parametrizations") or part._forward_pre_hooks or part._forward_hooks for part in (convolution, norm))
        behind = _behind_normalising(norm)
        if shared or changes_target or own or behind is None or not norm.track_running_stats:
            continue
        folded = fuse_conv_bn_eval(convolution, norm)  # type: ignore[arg-type, type-var]
        for old, new in ((convolution, folded), (norm, behind)):
            holder, name = holders[old]
            setattr(holder, name, new)


def _behind_normalising(norm: Any) -> nn.Module | None:
    """Return what a norm does besides: nothing, or, as timm's, dropout and activation; None of others with a forward of their own."""
    if type(norm).forward is _BatchNorm.forward:
        return nn.Identity()
    return nn.Sequential(norm.drop, norm.act) if type(norm).__name__ == "BatchNormAct2d" else None
