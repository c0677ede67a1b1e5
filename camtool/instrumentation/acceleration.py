"""Speed: the same network, faster, as a copy: convolutions folded with their norms, channels last, compiled, or in bfloat16.

Never silently: each is asked for by keyword, and the copy is believed only if its scores are those of the network it was made of.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from camtool.errors import ConfigError, MethodError
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.layer_paths import find_layer
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.nested import tensors_in
from camtool.registry import construct

TOLERANCE = {None: 1e-4, "bf16": 5e-2, "fp16": 1e-2}
"""How far, of the largest, scores of the copy may be off, by `amp`."""
_AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What is done to a copy of the network before it is asked."""

    fold: bool = False
    """Batch norms become part of the convolutions before them."""
    channels_last: bool = False
    """Tensors of two-dimensional convolutions have their channels innermost."""
    compile: bool = False
    """What lies before the target layers, and they, are compiled with frozen weights. The first call takes a minute or more."""
    amp: str | None = None
    """"bf16" or "fp16": convolutions and matrix products in half precision (fp16 on a GPU only)."""

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self))


def build_speed(spec: Speed | Mapping[str, Any] | None) -> Speed:
    """Return the settings that a dict (`dict(fold=True, amp='bf16')`) describes; ConfigError if it has others, or other values."""
    if isinstance(spec, Speed):
        return spec
    for setting, value in (spec or {}).items():
        if setting == "amp" and value is not None and value not in _AMP:
            raise ConfigError(f"speed: amp is one of {', '.join(map(repr, _AMP))} or None, got {value!r}.")
        if setting in ("fold", "channels_last", "compile") and not isinstance(value, bool):
            raise ConfigError(f"speed: {setting} is True or False, got {value!r}.")
    return construct(Speed, spec or {}, "speed", error=ConfigError)


class FastNetwork:
    """A faster copy of a network, made anew whenever the network's weights, its modules, or the layers asked for have changed.

    What is written to a parameter's `.data` is not seen: make another CAM then. Hooks of the user's are copied with the network.
    """

    def __init__(self, model: nn.Module, speed: Speed) -> None:
        self._model = model
        self.speed = speed
        self._made_of: Any = None
        self.model: nn.Module = model

    def of(self, inputs: Inputs, layers: Sequence[str]) -> nn.Module:
        """Return the copy, made and checked with these inputs if there is none yet.

        Raises:
            MethodError: if its scores are not those of the network.
        """
        if not self.speed:
            return self._model
        weights = [(tensor.data_ptr(), tensor._version) for tensor in (*self._model.parameters(), *self._model.buffers())]
        now = (tuple(layers), [(type(module), id(module)) for module in self._model.modules()], weights)
        if now != self._made_of:
            self.model = self._made(inputs, layers)
            self._made_of = now
        return self.model

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context in which the copy is run; the caller's own where no precision is asked for."""
        return torch.autocast(device.type, dtype=_AMP[self.speed.amp]) if self.speed.amp else nullcontext()

    def arranged(self, inputs: Inputs) -> Inputs:
        """Return the inputs as the copy wants them in memory."""
        picture = inputs.picture
        if not self.speed.channels_last or picture.ndim != 4:
            return inputs
        return inputs.with_picture(picture.contiguous(memory_format=torch.channels_last))

    def _made(self, inputs: Inputs, layers: Sequence[str]) -> nn.Module:
        speed = self.speed
        try:
            model = copy.deepcopy(self._model)
        except Exception as error:
            raise MethodError(f"`speed` needs a copy of the network, which cannot be made ({error}); leave it out.") from error
        arranged, device = self.arranged(inputs), inputs.picture.device
        with evaluating(self._model), evaluating(model), torch.no_grad():
            for module in model.modules():  # a copy is in eval mode for good: compiled code has that built in
                module.training = False
            expected = _scores(self._model, inputs)
            # In the order of calls: the layer that is called first ends what needs no graph.
            targets = [find_layer(model, path)[1] for path in layers]
            if speed.fold:
                _fold(model, arranged, targets)
            if speed.amp:
                _halve(model, _AMP[speed.amp])
            if speed.channels_last:
                for module in model.modules():
                    if isinstance(module, nn.Conv2d):
                        module.to(memory_format=torch.channels_last)
            if speed.compile:
                _compile(_before(model, arranged, targets))
            with self.autocast(device):
                found = _scores(model, arranged)
        if found.shape != expected.shape:
            raise MethodError("Made faster, the network gives another number of scores; leave `speed` out, or one of its settings.")
        off = (found - expected).abs().amax() / expected.abs().amax().clamp(min=torch.finfo(expected.dtype).tiny)
        if not off <= TOLERANCE[speed.amp]:
            raise MethodError(
                f"Made faster, the network gives scores that are off by {off:.1e} of the largest, more than {TOLERANCE[speed.amp]:.0e}; "
                "leave `speed` out, or one of its settings."
            )
        return model


def _scores(model: nn.Module, inputs: Inputs) -> Tensor:
    return torch.cat([tensor.detach().flatten().double() for tensor in tensors_in(inputs.run(model))])


def _calls(model: nn.Module, inputs: Inputs, note: Callable[[nn.Module, Any, Any], None]) -> None:
    """Run the network once and note every call of a module with its arguments and output, in order of their ends."""
    with ExitStack() as stack:
        for module in model.modules():
            stack.callback(module.register_forward_hook(note).remove)
        inputs.run(model)


def _fold(model: nn.Module, inputs: Inputs, targets: Sequence[nn.Module]) -> None:
    """Fold every batch norm into the convolution whose output it is called with, where each is called once; not at a target layer."""
    given_by: dict[int, nn.Module] = {}
    kept: list[Tensor] = []  # so that no identity is used twice
    calls: dict[nn.Module, int] = {}
    readers: dict[int, int] = {}
    pairs: list[tuple[nn.Module, nn.Module, int]] = []

    def note(module: nn.Module, arguments: Any, output: Any) -> None:
        calls[module] = calls.get(module, 0) + 1
        leaf = next(module.children(), None) is None
        for tensor in tensors_in(arguments) if leaf else ():
            readers[id(tensor)] = readers.get(id(tensor), 0) + 1
        if isinstance(module, _CONVOLUTIONS) and isinstance(output, Tensor):
            kept.append(output)
            given_by[id(output)], readers[id(output)] = module, 0
        elif isinstance(module, _NORMS) and isinstance(arguments[0], Tensor) and id(arguments[0]) in given_by:
            pairs.append((given_by[id(arguments[0])], module, id(arguments[0])))

    _calls(model, inputs, note)
    within = {part for target in targets for part in target.modules()}
    holders = {part: (holder, name) for holder in model.modules() for name, part in holder.named_children()}
    for convolution, norm, between in pairs:
        shared = calls[convolution] > 1 or calls[norm] > 1 or readers[between] > 1
        # A layer's own output must not change: a norm behind it stays where it is.
        leaves = convolution in targets or (convolution in within and norm not in within)
        parametrized = hasattr(convolution, "parametrizations") or hasattr(norm, "parametrizations")
        if shared or leaves or parametrized or not norm.track_running_stats:
            continue
        folded = fuse_conv_bn_eval(convolution, norm)  # type: ignore[arg-type, type-var]
        for old, new in ((convolution, folded), (norm, nn.Identity())):
            holder, name = holders[old]
            setattr(holder, name, new)


def _halve(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast the weights that autocast would cast in every call."""
    for module in model.modules():
        if isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
            module.to(dtype)


def _before(model: nn.Module, inputs: Inputs, targets: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the outermost modules whose calls end before, or with, that of the first target layer."""
    enclosing = {module for module in model.modules() if any(part in targets for part in module.modules())} - set(targets)
    ended: list[nn.Module] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if module not in enclosing and not any(one in targets for one in ended) and next(tensors_in(output), None) is not None:
            ended.append(module)

    _calls(model, inputs, note)
    inner = {part for module in ended for part in module.modules() if part is not module}
    return [module for module in dict.fromkeys(ended) if module not in inner and next(module.parameters(), None) is not None]


def _compile(modules: Sequence[nn.Module]) -> None:
    for number, module in enumerate(modules):
        vars(module)["forward"] = torch.compile(_with_own_code(module.forward, number), dynamic=False, options={"freezing": True})


def _with_own_code(forward: Callable[..., Any], number: int) -> Callable[..., Any]:
    """Return a function that calls `forward`, with code that no other has: compiled variants of one code are few (8 in torch 2)."""

    def run(*arguments: Any, **keywords: Any) -> Any:
        return forward(*arguments, **keywords)

    run.__code__ = run.__code__.replace(co_name=f"compiled_{number}")
    return run
