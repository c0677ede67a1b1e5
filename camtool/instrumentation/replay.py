"""Replay: run only the network's tail behind a layer, for copies of one sample with other activations at this layer.

The network's own Python code runs again, but every module that finished before the layer returns its recorded output as an expanded
view, so that nothing upstream is computed or copied. Functional code in between, and everything behind the layer, runs as usual.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from camtool.errors import CamtoolError
from camtool.instrumentation.calls import Changes
from camtool.instrumentation.copies import beside_different, check_copies, copies_agree
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.interception import Change, changed_output
from camtool.instrumentation.kept import Kept, KeptView, find_kept
from camtool.instrumentation.module_state import is_compiled, is_scripted
from camtool.instrumentation.nested import mapped, tensors_in
from camtool.instrumentation.traversal import modules_of
from camtool.targets import scores_in


class _NotReplayableError(CamtoolError):
    """A network that does not run the same way twice."""


@dataclass
class _Answer:
    """Recorded output of one module call."""

    module: nn.Module
    output: Any
    has_inputs: bool
    """Whether it was called with a tensor; a module without, as a table of position biases, belongs to no sample."""
    in_place: bool
    """Whether it returned its own input."""


REPLAYED = "replay"


class ReplayMode(NamedTuple):
    """How a recorded tensor is used for copies of one sample. Tensors that do not fit the mode are computed again."""

    views: bool
    """Expanded views; otherwise copies, for networks that work in place on modules' outputs, and in-place modules run again."""
    folded: bool
    """Whether a first axis that is a multiple of the batch holds parts of samples, as windows."""


_MODES = (ReplayMode(views=True, folded=False), ReplayMode(views=False, folded=True), ReplayMode(views=False, folded=False))


class Recording:
    """Outputs of a network's modules before a call of `layer`, recorded inside `recording()`.

    Args:
        call: number of the call, from 0; earlier ones are recorded as those of other modules are.
    """

    def __init__(self, model: nn.Module, layer: nn.Module, call: int = 0) -> None:
        self.model = model
        self.layer = layer
        self.call = call
        self.answers: list[_Answer] = []
        """Outputs of the outermost calls, in order; the last is that of the layer's call."""
        self._kept: list[Kept | KeptView] = []
        self.calls = 0
        """Number of calls of the layer in the pass."""
        self.failure_reason = ""
        """Why the recording cannot be replayed; "" if it can."""
        # Modules that contain the layer had not finished before it; their Python code must run.
        self._enclosing = {module for module in modules_of(model) if any(part is layer for part in modules_of(module))} - {layer}

    @property
    def complete(self) -> bool:
        """Whether the layer's call was recorded."""
        return sum(answer.module is self.layer for answer in self.answers) > self.call

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the module calls of one forward pass."""

        def remember(module: nn.Module, arguments: Any, output: Any) -> None:
            if not self.complete:
                # Clone: an in-place layer behind the module may overwrite its output.
                copied = mapped(output, lambda tensor: tensor.detach().clone())
                tensors = list(tensors_in(arguments))
                in_place = any(tensor is input_tensor for tensor in tensors_in(output) for input_tensor in tensors)
                self.answers.append(_Answer(module, copied, bool(tensors), in_place))

        def run(module: nn.Module, forward: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            held = [forward(*arguments, **keywords)]
            self.calls += module is self.layer
            if module is self.layer and not self.complete:
                self._kept = find_kept(module, held, (arguments, keywords))
                if any(isinstance(kept, KeptView) for kept in self._kept):
                    self.failure_reason = "the layer keeps a view of its output, which is of another batch"
            remember(module, (arguments, keywords), held[0])
            return held[0]

        self.answers.clear()
        self.calls = 0
        with self._intercepting(run):
            yield
        if not self.complete:
            self.failure_reason = "the layer is called inside a module that does not contain it"

    @contextmanager
    def answering(self, sample: int, batch: int, copies: int, output: Any, mode: "ReplayMode") -> Iterator[None]:
        """Return recorded outputs of one sample of `batch`, `copies` times, for module calls, and `output` for the layer's call."""
        rest = iter(self.answers)

        def run(module: nn.Module, forward: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            answer = next(rest, None)
            if answer is None:  # downstream
                return forward(*arguments, **keywords)
            if answer.module is not module:
                raise _NotReplayableError("its modules are called in another order")
            if answer is self.answers[-1]:
                # The network's own hooks may work in place.
                given = mapped(output, torch.clone) if module._forward_hooks else output
                tensors = list(tensors_in(given))
                for kept in self._kept:
                    kept.put(tensors, changes)
                return given
            if not answer.has_inputs or (answer.in_place and not mode.views):
                return forward(*arguments, **keywords)
            recalled = _of_sample(answer.output, sample, batch, copies, mode)
            return forward(*arguments, **keywords) if recalled is None else recalled

        with self._intercepting(run) as changes:
            yield

    @contextmanager
    def _intercepting(self, run: Any) -> Iterator[Changes]:
        """Route every outermost module call through `run`, except those of the modules that contain the layer."""
        inside = False

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

        # Compiled code would be compiled again with what stands in its parts, which are never outermost.
        compiled = {part for module in modules_of(self.model) if is_compiled(module) for part in modules_of(module) if part is not module}
        with Changes() as changes:
            for module in modules_of(self.model):
                if module not in self._enclosing and module not in compiled and not is_scripted(module):
                    changes.replace_forward(module, wrapper(module))
            yield changes


def _of_sample(output: Any, sample: int, batch: int, copies: int, mode: ReplayMode) -> Any:
    """Return a module's output of one sample for several copies of it; None if no axis has the size of the batch."""
    fits = True

    def change(tensor: Tensor) -> Tensor:
        nonlocal fits
        axis = next((axis for axis in range(min(tensor.ndim, 2)) if tensor.shape[axis] == batch), None)
        if axis is not None:
            shape = list(tensor.shape)
            shape[axis] = copies
            view = tensor.narrow(axis, sample, 1).expand(shape)
            return view if mode.views else view.clone(memory_format=torch.contiguous_format)  # contiguous() of a single copy is a view
        if mode.folded and tensor.ndim > 1 and tensor.shape[0] % batch == 0:
            share = tensor.shape[0] // batch
            return tensor.narrow(0, sample * share, share).repeat(copies, *[1] * (tensor.ndim - 1))
        fits = False
        return tensor

    changed = mapped(output, change)
    return changed if fits else None


class Replay:
    """Runs the network's tail behind a layer for copies of a sample with other activations there.

    If the network cannot be replayed (it calls modules in another order, or its output differs for the same activations), every copy is a
    whole forward pass, with the same result; `status` has the reason.
    """

    def __init__(self, recording: Recording, index: int, inputs: Inputs, output: Any, *, batch_axis: int = 0) -> None:
        """Use the recording of a forward pass of `inputs`, whose output was `output`.

        Args:
            index: index of the replaced tensor among the layer's floating-point tensors.
            batch_axis: the axis of the samples in that tensor.
        """
        self._recording = recording
        self._index = index
        self._batch_axis = batch_axis
        self._inputs = inputs
        self._batch = len(inputs.picture)
        self._expected = scores_in(output, batch=self._batch).detach()
        self._mode = _MODES[0]
        self.status = recording.failure_reason and f"full forward passes: {recording.failure_reason}"
        """"" before the first use, then "replay", or why whole forward passes are made."""

    @property
    def activations(self) -> Tensor:
        """The layer's recorded tensor, of all samples."""
        tensors = list(tensors_in(self._recording.answers[-1].output))
        return tensors[self._index]

    def __call__(self, sample: int, activations: Tensor) -> Any:
        """Return the network's output for copies of one sample with `activations`, the copies on its batch axis, at the layer.

        An in-place layer downstream overwrites these, as it would the layer's own.
        """
        if not self.status:
            self._try()
        if self.status != REPLAYED:
            return self.whole(sample, activations)
        return self._tail(sample, activations)

    def invalidate(self) -> None:
        """Check the replay again before the next query: other passes may have changed the network's own state."""
        if self.status == REPLAYED:
            self.status = ""

    def _try(self) -> None:
        """Replay the first sample's own activations beside different ones, and use the replay if the scores are the same.

        Otherwise whole forward passes must give them.
        """
        beside = beside_different(self.activations, axis=self._batch_axis, batch=self._batch)
        count, failure = beside.shape[self._batch_axis], ""

        def copies(numbers: list[int]) -> Tensor:
            return beside.index_select(self._batch_axis, torch.tensor(numbers, device=beside.device))

        for self._mode in _MODES:
            try:
                with torch.no_grad():
                    agrees = copies_agree(lambda numbers: self._tail(0, copies(numbers)), count, self._expected)
            except Exception as error:  # noqa: BLE001 - networks raise anything on unexpected input
                failure = " ".join(str(error).split())[:200]
                continue
            if agrees:
                self.status = REPLAYED
                return
            failure = "its output differs for the same activations"
        check_copies(self._recording.model, self._inputs, self._expected, lambda numbers: self.whole(0, copies(numbers)), count)
        self.status = f"full forward passes: {failure}"

    def _tail(self, sample: int, activations: Tensor) -> Any:
        copies = activations.shape[self._batch_axis]
        inputs = self._inputs.sample(sample).expanded(copies)
        with self._recording.answering(sample, self._batch, copies, self._output(sample, activations), self._mode):
            return inputs.run(self._recording.model)

    def whole(self, sample: int, activations: Tensor) -> Any:
        """Return the same from whole forward passes of the network with the layer's output replaced."""
        exchange = _at(self._recording.call, lambda output: _with_tensor(output, self._index, activations))
        with changed_output(self._recording.layer, exchange):
            return self._inputs.sample(sample).repeated(activations.shape[self._batch_axis]).run(self._recording.model)

    def _output(self, sample: int, activations: Tensor) -> Any:
        copies, mode = activations.shape[self._batch_axis], self._mode._replace(folded=False)
        output = _of_sample(self._recording.answers[-1].output, sample, self._batch, copies, mode)
        if output is None:
            raise _NotReplayableError("the layer's output has tensors without a batch axis")
        return _with_tensor(output, self._index, activations)


def _at(number: int, change: Callable[[Any], Any]) -> Change:
    """Return what changes the output of one of a module's calls."""
    calls = itertools.count()
    return lambda *call: change(call[-1]) if next(calls) == number else None


def _with_tensor(output: Any, index: int, activations: Tensor) -> Any:
    old = list(tensors_in(output))[index]
    return mapped(output, lambda tensor: activations if tensor is old else tensor)
