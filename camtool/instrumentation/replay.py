"""Replay: run again only what lies downstream of a layer, for copies of one sample with other activations there.

The network's own Python runs again, but every module that had finished before the layer answers from memory: an expanded view, so
that nothing upstream is computed or copied. Functional code in between, and all that comes after the layer, runs as it is.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from camtool.errors import CamtoolError
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.nested import mapped, tensors_in


class _NotReplayableError(CamtoolError):
    """The network does not run the same way twice."""


@dataclass
class _Answer:
    """What one module call gave."""

    module: nn.Module
    output: Any
    has_inputs: bool
    """Whether it was called with a tensor; one without, as a table of position biases, belongs to no sample."""
    in_place: bool
    """Whether it returned what it was called with."""


REPLAYED = "replay"


class ReplayMode(NamedTuple):
    """How a recorded tensor stands for copies of one sample. What does not fit a mode is computed again."""

    views: bool
    """Expanded views; else copies, for networks that work in place on what modules return, where what works in place runs again."""
    folded: bool
    """Whether a first axis that is a multiple of the batch holds samples by parts, as windows do."""


_MODES = (ReplayMode(views=True, folded=False), ReplayMode(views=False, folded=True), ReplayMode(views=False, folded=False))


class Recording:
    """What a network's modules gave before `layer` was first called, recorded while `recording()` is entered."""

    def __init__(self, model: nn.Module, layer: nn.Module) -> None:
        self.model = model
        self.layer = layer
        self.answers: list[_Answer] = []
        """Of the outermost calls, in order; the last is the layer's own."""
        self.failure_reason = ""
        """Why it cannot be replayed, if it cannot."""
        # Whatever holds the layer was not finished before it; its Python must run.
        self._enclosing = {module for module in model.modules() if any(part is layer for part in module.modules())} - {layer}

    @property
    def complete(self) -> bool:
        """Whether the layer was called."""
        return bool(self.answers) and self.answers[-1].module is self.layer

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the calls of one forward pass."""

        def remember(module: nn.Module, arguments: Any, output: Any) -> None:
            if not self.complete:
                # Clone: an in-place layer behind it may overwrite what it returned.
                copied = mapped(output, lambda tensor: tensor.detach().clone())
                given = list(tensors_in(arguments))
                in_place = any(one is another for one in tensors_in(output) for another in given)
                self.answers.append(_Answer(module, copied, bool(given), in_place))

        def run(module: nn.Module, forward: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            output = forward(*arguments, **keywords)
            remember(module, (arguments, keywords), output)
            return output

        left = False

        def as_left(module: nn.Module, arguments: Any, output: Any) -> None:
            nonlocal left
            if self.complete and not left:  # what the user's own hooks made of it
                self.answers[-1].output, left = mapped(output, lambda tensor: tensor.detach().clone()), True

        self.answers.clear()
        with self.hooked(as_left), self._intercepting(run):
            yield
        if not self.complete:
            self.failure_reason = "the layer is called inside a module that does not hold it"

    @contextmanager
    def answering(self, sample: int, batch: int, output: Any, mode: "ReplayMode") -> Iterator[None]:
        """Answer from memory what was recorded of one sample of `batch`, and with `output` where the layer is called."""
        rest = iter(self.answers)
        copies = next(tensors_in(output)).shape[0]

        def run(module: nn.Module, forward: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            answer = next(rest, None)
            if answer is None:  # downstream
                return forward(*arguments, **keywords)
            if answer.module is not module:
                raise _NotReplayableError("its modules are not called in the same order again")
            if module is self.layer:
                # The user's hooks, beside the one below, may work in place.
                return mapped(output, torch.clone) if len(module._forward_hooks) > 1 else output
            if not answer.has_inputs or (answer.in_place and not mode.views):
                return forward(*arguments, **keywords)
            recalled = _of_sample(answer.output, sample, batch, copies, mode)
            return forward(*arguments, **keywords) if recalled is None else recalled

        with self.hooked(_once(lambda _: output)), self._intercepting(run):
            yield

    @contextmanager
    def hooked(self, hook: Any) -> Iterator[None]:
        """Call `hook` behind the layer's own hooks."""
        handle = self.layer.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def _intercepting(self, run: Any) -> Iterator[None]:
        """Send every outermost module call, but those of the modules that hold the layer, through `run`."""
        inside = False
        own: list[tuple[nn.Module, Any]] = []

        def wrapper(module: nn.Module) -> Any:
            forward = module.forward

            def intercepted(*arguments: Any, **keywords: Any) -> Any:
                nonlocal inside
                if inside:
                    return forward(*arguments, **keywords)
                inside = True
                try:
                    return run(module, forward, arguments, keywords)
                finally:
                    inside = False

            return intercepted

        try:
            for module in self.model.modules():
                if module not in self._enclosing and not isinstance(module, torch.jit.ScriptModule):
                    changed = wrapper(module)
                    own.append((module, vars(module).get("forward")))
                    vars(module)["forward"] = changed
            yield
        finally:
            for module, forward in own:
                if forward is None:
                    del vars(module)["forward"]
                else:
                    vars(module)["forward"] = forward


def _of_sample(output: Any, sample: int, batch: int, copies: int, mode: ReplayMode) -> Any:
    """Return what a module gave for one sample, for several copies of it; None where the batch is not found in the shape."""
    fits = True

    def change(tensor: Tensor) -> Tensor:
        nonlocal fits
        axis = next((axis for axis in range(min(tensor.ndim, 2)) if tensor.shape[axis] == batch), None)
        if axis is not None:
            shape = list(tensor.shape)
            shape[axis] = copies
            view = tensor.narrow(axis, sample, 1).expand(shape)
            return view if mode.views else view.clone(memory_format=torch.contiguous_format)  # of one copy contiguous() is a view
        if mode.folded and tensor.ndim > 1 and tensor.shape[0] % batch == 0:
            share = tensor.shape[0] // batch
            return tensor.narrow(0, sample * share, share).repeat(copies, *[1] * (tensor.ndim - 1))
        fits = False
        return tensor

    changed = mapped(output, change)
    return changed if fits else None


class Replay:
    """The scores of copies of a sample with other activations at a layer, from the layer on.

    Where the network failure_reason (it calls modules in another order, or gives other scores for the same activations), every copy is
    a whole forward pass, with the same result; `status` says so and why.
    """

    def __init__(self, recording: Recording, index: int, inputs: Inputs, output: Any) -> None:
        """Bind what was recorded in a forward pass of `inputs`, which ended in `output`.

        Args:
            index: which of the layer's floating-point tensors is replaced.
        """
        self._recording = recording
        self._index = index
        self._inputs = inputs
        self._batch = len(inputs.picture)
        self._expected = [tensor.detach() for tensor in tensors_in(output)]
        self._mode = _MODES[0]
        self.status = recording.failure_reason and f"full forward passes: {recording.failure_reason}"
        """"" until it was tried, "replay", or why whole forward passes are made."""

    @property
    def given(self) -> Tensor:
        """The layer's own tensor, of all samples."""
        tensors = list(tensors_in(self._recording.answers[-1].output))
        return tensors[self._index]

    def __call__(self, sample: int, activations: Tensor) -> Any:
        """Return the network's output for copies of one sample with `activations` (copies, ...) at the layer.

        A layer downstream that works in place overwrites these, as it would the layer's own.
        """
        if not self.status:
            self._try()
        if self.status != REPLAYED:
            return self.whole(sample, activations)
        return self._tail(sample, activations)

    def invalidate(self) -> None:
        """Try again before the next question: other passes may have changed what the network remembers of its own."""
        if self.status == REPLAYED:
            self.status = ""

    def _try(self) -> None:
        """Replay what is known, twice the first sample's own activations, and believe the replay if the output is the same."""
        twice = self.given[:1].expand(2, *self.given.shape[1:]).contiguous()
        failure = ""
        for self._mode in _MODES:
            try:
                with torch.no_grad():
                    outputs = list(tensors_in(self._tail(0, twice)))
            except Exception as error:  # noqa: BLE001 - whatever a network says to what it does not expect
                failure = " ".join(str(error).split())[:200]
                continue
            failure = "its output is another for the same activations"
            if len(outputs) == len(self._expected) and all(map(_agree_on_first, outputs, self._expected)):
                self.status = REPLAYED
                return
        self.status = f"full forward passes: {failure}"

    def _tail(self, sample: int, activations: Tensor) -> Any:
        inputs = self._inputs.sample(sample).expanded(len(activations))
        with self._recording.answering(sample, self._batch, self._output(sample, activations), self._mode):
            return inputs.run(self._recording.model)

    def whole(self, sample: int, activations: Tensor) -> Any:
        """Return the same from whole forward passes of the network, in which the layer's output is replaced."""

        exchange = _once(lambda output: _exchanged(output, self._index, activations))
        with self._recording.hooked(exchange):
            return self._inputs.sample(sample).repeated(len(activations)).run(self._recording.model)

    def _output(self, sample: int, activations: Tensor) -> Any:
        output = _of_sample(self._recording.answers[-1].output, sample, self._batch, len(activations), self._mode._replace(folded=False))
        if output is None:
            raise _NotReplayableError("the layer puts out tensors without an axis for the batch")
        return _exchanged(output, self._index, activations)


def _once(change: Callable[[Any], Any]) -> Callable[[nn.Module, Any, Any], Any]:
    """Return a forward hook that changes what a module puts out when it is called first."""
    calls = itertools.count()
    return lambda *call: change(call[-1]) if next(calls) == 0 else None


def _exchanged(output: Any, index: int, activations: Tensor) -> Any:
    old = list(tensors_in(output))[index]
    return mapped(output, lambda tensor: activations if tensor is old else tensor)


def _agree_on_first(output: Tensor, expected: Tensor) -> bool:
    # A network may squeeze away a batch of one, as LeNet-5 of mmpretrain.
    first = expected[:1] if expected.ndim == output.ndim else expected.unsqueeze(0)
    return output.shape[1:] == first.shape[1:] and (not first.numel() or _agree(output, first))


def _agree(found: Tensor, expected: Tensor) -> bool:
    scale = expected.abs().amax().clamp(min=torch.finfo(expected.dtype).tiny)
    # 3e-4 of float32: other kernels for another batch, not other mathematics; of bfloat16 the root of eps would be 9 %.
    tolerance = min(torch.finfo(expected.dtype).eps ** 0.5, 0.02)
    return bool((found - expected).abs().amax() <= tolerance * scale)
