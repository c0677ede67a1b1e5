"""Acceleration: a faster copy of a network: batch norms folded into convolutions, channels last, compiled, or in half precision.

Each setting is chosen by keyword, and the copy is used only if its scores equal those of the network.
"""

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from camtool.errors import ConfigError, MethodError
from camtool.instrumentation.compilation import compile_before
from camtool.instrumentation.folding import fold
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.layer_paths import find_layer
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.nested import tensors_in
from camtool.instrumentation.snapshot import Snapshot
from camtool.instrumentation.traversal import modules_of
from camtool.registry import construct

TOLERANCE = {None: 1e-4, "bf16": 5e-2, "fp16": 1e-2}
"""Largest difference of the copy's scores, as a share of the largest score, by `amp`."""
_AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}
_CASTS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Settings of the faster copy of a network; a Speed without any is false.

    Example:
        >>> from camtool.instrumentation.acceleration import Speed
        >>> bool(Speed()), bool(Speed(fold=True))
        (False, True)
    """

    fold: bool = False
    """Fold batch norms into the convolutions before them."""
    channels_last: bool = False
    """Store tensors of two-dimensional convolutions with channels innermost."""
    compile: bool = False
    """Compile the target layers and all before them with frozen weights. The first call takes a minute or more."""
    amp: str | None = None
    """"bf16" or "fp16": convolutions and matrix products in half precision (fp16 on a GPU only)."""

    def __bool__(self) -> bool:
        return any(getattr(self, setting.name) for setting in fields(self))


def build_speed(spec: Speed | Mapping[str, Any] | None) -> Speed:
    """Return the settings that a dict (`dict(fold=True, amp='bf16')`) describes; ConfigError for unknown settings or values.

    Example:
        >>> from camtool.instrumentation.acceleration import build_speed
        >>> build_speed({"fold": True, "amp": "bf16"})
        Speed(fold=True, channels_last=False, compile=False, amp='bf16')
    """
    if isinstance(spec, Speed):
        return spec
    if spec is not None and not isinstance(spec, Mapping):
        raise ConfigError(f"Expected speed as a dict, such as dict(fold=True), got {spec!r}.")
    for setting, value in (spec or {}).items():
        if setting == "amp" and value is not None and value not in _AMP:
            raise ConfigError(f"speed: expected amp to be {', '.join(map(repr, _AMP))} or None, got {value!r}.")
        if setting in ("fold", "channels_last", "compile") and not isinstance(value, bool):
            raise ConfigError(f"speed: expected {setting} to be True or False, got {value!r}.")
    return construct(Speed, spec or {}, "speed", error=ConfigError)


class FastNetwork:
    """A faster copy of a network, renewed whenever the network or the target layers have changed: see `Snapshot`.

    Changes of a parameter's `.data` are not detected: make another CAM then. The user's hooks are copied with the network.
    """

    def __init__(self, model: nn.Module, speed: Speed) -> None:
        self._model = model
        self.speed = speed
        self._made_of = Snapshot(model, None)
        self.model: nn.Module = model

    def of(self, inputs: Inputs, layers: Sequence[str]) -> nn.Module:
        """Return the copy; without a current one, make it and check it with these inputs.

        Raises:
            MethodError: if the network cannot be copied, or the copy's scores are not those of the network.
        """
        if not self.speed:
            return self._model
        if not self._made_of.holds(layers):
            self.model = self._made(inputs, layers)
            # Now: the network may keep what it computed while it was compared.
            self._made_of = Snapshot(self._model, layers)
        return self.model

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the autocast context of the copy; without `amp` one that changes nothing."""
        return torch.autocast(device.type, dtype=_AMP[self.speed.amp]) if self.speed.amp else nullcontext()

    def arranged(self, inputs: Inputs) -> Inputs:
        """Return the inputs in the copy's memory format."""
        picture = inputs.picture
        if not self.speed.channels_last or picture.ndim != 4:
            return inputs
        return inputs.with_picture(picture.contiguous(memory_format=torch.channels_last))

    def _made(self, inputs: Inputs, layers: Sequence[str]) -> nn.Module:
        speed = self.speed
        try:
            model = copy.deepcopy(self._model)
        except Exception as error:
            raise MethodError(f"`speed` needs a copy of the network, which cannot be made ({error}); leave `speed` out.") from error
        arranged, device = self.arranged(inputs), inputs.picture.device
        with evaluating(self._model), evaluating(model), torch.no_grad():
            for module in modules_of(model):  # a copy stays in eval mode: compiled code depends on it
                module.training = False
            expected = _outputs(self._model, inputs)
            # In the order of calls: the part without graph ends at the first layer called.
            targets = [find_layer(model, path)[1] for path in layers]
            if speed.fold:
                fold(model, arranged, targets)
            if speed.amp:
                _halve(model, _AMP[speed.amp])
            if speed.channels_last:
                for module in modules_of(model):
                    if isinstance(module, nn.Conv2d):
                        module.to(memory_format=torch.channels_last)
            if speed.compile:
                with self.autocast(device):  # the weights are halved already
                    compile_before(model, arranged, targets)
            try:
                with self.autocast(device):
                    outputs = _outputs(model, arranged)
            except Exception as error:  # the network itself has just run; one may read what is folded, in code of its own
                raise MethodError(
                    f"The accelerated network cannot be run with speed={self._given()}: torch raises {_first_line(error)} "
                    f"Leave out {'`amp` or `compile`' if speed.compile or speed.amp else '`speed`, or one of its settings'}."
                ) from error
        _check_same(outputs, expected, TOLERANCE[speed.amp])
        return model

    def _given(self) -> str:
        chosen = {setting.name: getattr(self.speed, setting.name) for setting in fields(self.speed)}
        return f"dict({', '.join(f'{name}={value!r}' for name, value in chosen.items() if value)})"


def _outputs(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    return [tensor.detach().double() for tensor in tensors_in(inputs.run(model))]


def _check_same(outputs: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> None:
    """Raise MethodError unless each tensor is the expected one, to a share of its own largest number: features are larger than scores."""
    if [tensor.shape for tensor in outputs] != [tensor.shape for tensor in expected]:
        raise MethodError("The accelerated network has another number of scores; leave `speed` out, or one of its settings.")
    for found, known in zip(outputs, expected, strict=True):
        if not known.numel():
            continue
        difference = (found - known).abs().amax() / known.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
        if not difference <= tolerance:
            raise MethodError(
                f"The accelerated network's scores differ by {difference:.1e} of the largest, more than {tolerance:.0e}; "
                "leave `speed` out, or one of its settings."
            )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200].rstrip('.') if lines else ''}."


def _halve(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast the weights that autocast would otherwise cast in every call."""
    for module in modules_of(model):
        if isinstance(module, _CASTS):
            module.to(dtype)
