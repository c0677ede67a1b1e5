"""Acceleration: a faster copy of a network: batch norms folded into convolutions, channels last, compiled, or in half precision.

Each setting is chosen by keyword, and the copy is used only if its scores equal those of the network.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, fields
from itertools import filterfalse
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

from camtool.errors import ConfigError, MethodError
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.layer_paths import find_layer
from camtool.instrumentation.module_state import evaluating, is_scripted
from camtool.instrumentation.nested import tensors_in
from camtool.instrumentation.snapshot import Snapshot
from camtool.instrumentation.traversal import modules_of
from camtool.registry import construct

TOLERANCE = {None: 1e-4, "bf16": 5e-2, "fp16": 1e-2}
"""Largest difference of the copy's scores, as a share of the largest score, by `amp`."""
_AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


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
                _fold(model, arranged, targets)
            if speed.amp:
                _halve(model, _AMP[speed.amp])
            if speed.channels_last:
                for module in modules_of(model):
                    if isinstance(module, nn.Conv2d):
                        module.to(memory_format=torch.channels_last)
            if speed.compile:
                with self.autocast(device):  # the weights are halved already
                    before = _before(model, arranged, targets)
                _compile(before)
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


def _calls(model: nn.Module, inputs: Inputs, note: Callable[[nn.Module, Any, Any], None]) -> None:
    """Run the network once and call `note` with the module, arguments and output of every module call, in order of their ends."""
    with ExitStack() as stack:
        for module in filterfalse(is_scripted, modules_of(model)):
            stack.callback(module.register_forward_hook(note).remove)
        inputs.run(model)


class _Readers(TorchFunctionMode):
    """Counts, while entered, the functions that compute tensors from each of the tensors in `of`, by the tensor's id."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[int, int] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        parts = output if isinstance(output, (tuple, list)) else [output]
        if any(isinstance(part, Tensor) for part in parts):  # else it asks for a shape
            for number in {id(tensor) for tensor in tensors_in((args, kwargs or {}))} & self.of.keys():
                self.of[number] += 1
        return output


def _fold(model: nn.Module, inputs: Inputs, targets: Sequence[nn.Module]) -> None:
    """Fold every batch norm into the convolution before it if both are called once; not at a target layer."""
    convolution_of: dict[int, nn.Module] = {}
    outputs: list[Tensor] = []  # so that no id() is reused
    calls: dict[nn.Module, int] = {}
    readers = _Readers()
    pairs: list[tuple[nn.Module, nn.Module, int]] = []

    def note(module: nn.Module, arguments: Any, output: Any) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, _CONVOLUTIONS) and isinstance(output, Tensor):
            outputs.append(output)
            convolution_of[id(output)], readers.of[id(output)] = module, 0
        elif isinstance(module, _NORMS) and isinstance(arguments[0], Tensor) and id(arguments[0]) in convolution_of:
            pairs.append((convolution_of[id(arguments[0])], module, id(arguments[0])))

    with readers:
        _calls(model, inputs, note)
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


def _halve(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast the weights that autocast would otherwise cast in every call."""
    for module in modules_of(model):
        if isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
            module.to(dtype)


def _before(model: nn.Module, inputs: Inputs, targets: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the outermost modules whose calls end before, or with, that of the first target layer."""
    enclosing = {module for module in modules_of(model) if any(part in targets for part in modules_of(module))} - set(targets)
    finished: list[nn.Module] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if (
            module not in enclosing
            and not any(module_called in targets for module_called in finished)
            and next(tensors_in(output), None) is not None
        ):
            finished.append(module)

    _calls(model, inputs, note)
    inner = {part for module in finished for part in modules_of(module) if part is not module}
    return [module for module in dict.fromkeys(finished) if module not in inner and next(module.parameters(), None) is not None]


def _compile(modules: Sequence[nn.Module]) -> None:
    for number, module in enumerate(modules):
        vars(module)["forward"] = torch.compile(_with_own_code(module.forward, number), dynamic=False, options={"freezing": True})


def _with_own_code(forward: Callable[..., Any], number: int) -> Callable[..., Any]:
    """Return a function that calls `forward` with a code object of its own: torch 2 compiles at most 8 variants of one."""

    def run(*arguments: Any, **keywords: Any) -> Any:
        return forward(*arguments, **keywords)

    run.__code__ = run.__code__.replace(co_name=f"compiled_{number}")
    return run
