"""Layouts of a network's layers: the only reading of a shape, the one that a measurement confirms, or the one that the user gives."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from camtool.errors import LayoutError, some, times, warn
from camtool.instrumentation.batching import Progress
from camtool.instrumentation.convolutional import CONVOLUTIONAL, is_convolutional, is_in_chain_of_convolutions, last_layer
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.layer_calls import LayerCalls, UnsettledCallError
from camtool.instrumentation.layer_findings import KnownOutput, LayerFindings
from camtool.instrumentation.layer_paths import module_at
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.randomness import watched
from camtool.layouts import ChannelsFirst, ChannelsLast, Layout, Tokens, fit_layout
from camtool.layouts.localisation import PERMUTED, Responses
from camtool.layouts.measured import Finding, agreement, reading_in_words, readings_in_words

MEASURED = "measured"
ONLY_READING = "only reading"
GIVEN = "given"

HOW_TO_STATE = (
    "If you know where its positions are, state it: layout=dict(type='Tokens', grid=(14, 14), front=1), or on the command line "
    "--layout 'Tokens(grid=14x14,front=1)'."
)

Result = TypeVar("Result")


class UnmeasuredError(LayoutError):
    """A layer's layout has to be measured first."""


class LayerLayouts:
    """Finds the layout of each layer's output in one call; a layer that has to be measured is refused until it is.

    Args:
        model: the network itself, not an accelerated copy; it is what is measured.
        inputs: of the call.
        given: the user's layout; obeyed, and measured only to warn.
        progress: called during a measurement as `progress(description, done, total)`.
        orders: paths of the layers whose tokens' order is measured if it is none that is known, which takes a pass for each row and
            column; None: of all.
        warns: warn where the measurement speaks against the given layout, and name the calls that are chosen.
        calls: chooses the explained call of layers that are called several times; the last on the way to the predicted class's score.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Inputs,
        given: Layout | None = None,
        *,
        progress: Progress | None = None,
        orders: Collection[str] | None = None,
        warns: bool = True,
        calls: LayerCalls | None = None,
    ) -> None:
        self.calls = calls or LayerCalls(model, inputs)
        """Chooses the explained call of each layer."""
        self._findings = LayerFindings(model, inputs, progress, calls=self.calls.recorded)
        self._model = model
        self._inputs = inputs
        self._given = given
        self._orders = orders
        self._warns = warns
        self._unmeasured: dict[str, nn.Module] = {}
        self.unordered: set[str] = set()
        """Paths of the layers whose tokens look at places, in an order that was not asked to be measured."""
        self.evidence: dict[str, str] = {}
        """By path of the layers that have a layout: "measured", "only reading" or "given"."""

    def fit(self, tensor: Tensor, path: str, *, batch: int, input_size: Sequence[int], index: int = 0) -> Layout:
        """Return the layout of a layer's tensor.

        Args:
            batch: number of samples in the pass.
            index: number of the tensor among the floating-point tensors of the layer's output.

        Raises:
            LayoutError: if it is no map over the input, or has to be measured first, as `require_measured` tells.
        """
        shape, size = tuple(tensor.shape), tuple(input_size)
        known = self._findings.of(path, index, size, shape, batch)
        if self._given is not None:
            return self._fit_given(tensor, path, batch, size, known)
        if known is None:
            if self._is_certain(shape, path, batch, size):
                return self._noted(path, ONLY_READING, ChannelsFirst())
            self._refuse_impossible(tensor, path, batch, size)
            raise self._to_be_measured(path)
        if known.batch_axis is None:
            raise LayoutError(_folded(shape, batch))
        finding = known.finding
        if finding.permuted_axis is not None:
            if self._orders is None or path in self._orders:
                raise self._to_be_measured(path)
            self.unordered.add(path)
        if finding.layout is not None:
            return self._noted(path, MEASURED, finding.layout)
        only = self._only_reading(path, shape, size, known)
        if only is not None:
            return self._noted(path, ONLY_READING, only)
        likely = readings_in_words(shape, known.batch_axis, size)
        raise LayoutError(
            f"An output of shape {shape} is not read as a map over the {times(size)} input: {finding.reason}{likely}. {HOW_TO_STATE}"
        )

    def require_measured(self) -> None:
        """Raise UnmeasuredError if a layer was refused because it has to be measured first."""
        if self._unmeasured:
            raise UnmeasuredError(
                f"Layer '{some(list(self._unmeasured))}': it cannot be measured where the elements of its output look, because the shape "
                f"differs from pass to pass, or it is not called for a single sample. {HOW_TO_STATE}"
            )

    def settled(self, compute: Callable[[], Result]) -> Result:
        """Return `compute()`; if it finds layers whose call is not settled, or unmeasured, that is done, and it is computed again."""
        for _ in range(3):  # calls, places, then the order of those whose places are in none
            state = torch.get_rng_state()
            with suppress(UnsettledCallError, UnmeasuredError):
                return compute()
            if not torch.equal(state, torch.get_rng_state()) and self._network_draws():  # else another thread does
                torch.set_rng_state(state)
            layers, self._unmeasured = self._unmeasured, {}
            if not self.calls.settle(warns=self._warns):
                self._findings.measure(layers)
        return compute()

    def _network_draws(self) -> bool:
        with torch.no_grad(), evaluating(self._model):
            return watched(partial(self._inputs.run, self._model))[1]

    def _fit_given(self, tensor: Tensor, path: str, batch: int, size: tuple[int, ...], known: KnownOutput | None) -> Layout:
        layout, shape = self._given, tuple(tensor.shape)
        assert layout is not None
        certain = self._is_certain(shape, path, batch, size)
        if known is None and not certain and self._may_be_read(tensor.ndim, path, size) and batch in shape:
            raise self._to_be_measured(path)
        measured = known.finding.layout if known is not None else None
        if isinstance(layout, Tokens) and measured is not None and tensor.ndim == 3:
            if layout.agrees_with(measured, shape, size):
                return self._noted(path, GIVEN, measured)  # what the user leaves open is measured
            layout = layout.along(measured)
        fit_layout(tensor, batch, size, layout)
        found = known if known is not None else _as_it_is(shape) if certain else None
        if found is not None and self._warns and path not in self.evidence:
            problem = agreement(layout, found.responses, found.finding, size)
            if problem:
                warn(f"Layer '{path}': the given layout is used, {reading_in_words(layout, shape, size)}, but {problem}.")
        return self._noted(path, GIVEN, layout)

    def _noted(self, path: str, evidence: str, layout: Layout) -> Layout:
        self.evidence[path] = evidence
        return layout

    def _to_be_measured(self, path: str) -> LayoutError:
        self._unmeasured[path] = module_at(self._model, path)
        return LayoutError("Where its elements look has to be measured first.")

    def _only_reading(self, path: str, shape: tuple[int, ...], size: tuple[int, ...], known: KnownOutput) -> Layout | None:
        """Return the only layout that a grid's shape and layer allow, if the measurement decided nothing; None if it speaks against it."""
        finding = known.finding
        if len(shape) != 2 + len(size) or len(size) == 1 or known.batch_axis != 0:
            return None
        if not finding.depends and not isinstance(self._inputs.arguments, Tensor):  # the layer may be another input's
            return None
        first = ChannelsFirst().mismatch(shape, size, given=False) is None
        last = ChannelsLast().mismatch(shape, size, given=False) is None
        # What a convolution does not end in may be queries by keys, or heads by tokens.
        layer, module = last_layer(self._model, path), module_at(self._model, path)
        if layer is None:  # what is done to the input itself has its axes
            last = last and not first
        elif isinstance(layer, CONVOLUTIONAL):
            last = False
        else:
            first, last = False, last and next(module.parameters(), None) is not None
        if first == last:
            return None
        axes = range(2, len(shape)) if first else range(1, len(shape) - 1)
        scattered = any(finding.spreads.get(axis, 0.0) >= PERMUTED for axis in axes)
        return None if scattered else ChannelsFirst() if first else ChannelsLast()

    def _is_certain(self, shape: tuple[int, ...], path: str, batch: int, size: tuple[int, ...]) -> bool:
        """Return whether nothing but (n, c, *spatial) can be meant: the output of a convolution, or of a part that ends in one."""
        if len(shape) != 2 + len(size) or shape[0] != batch or not isinstance(self._inputs.arguments, Tensor):
            return False
        if ChannelsFirst().mismatch(shape, size, given=False) is not None:
            return False
        if is_convolutional(module_at(self._model, path)) or is_in_chain_of_convolutions(self._model, path):
            return True
        alone = len(size) > 1 and ChannelsLast().mismatch(shape, size, given=False) is not None
        return alone and isinstance(last_layer(self._model, path), CONVOLUTIONAL)

    def _may_be_read(self, rank: int, path: str, size: tuple[int, ...]) -> bool:
        """Return whether a tensor of so many axes may be a map: tokens, a grid, or of a convolution over more axes than the input has.

        A network that makes a spectrogram of a signal, or a stack of channels, adds an axis of its own.
        """
        own = rank > 2 + len(size) and isinstance(last_layer(self._model, path), CONVOLUTIONAL)
        return rank in (3, 2 + len(size)) or own

    def _refuse_impossible(self, tensor: Tensor, path: str, batch: int, size: tuple[int, ...]) -> None:
        """Raise LayoutError for a tensor that cannot be a map, whatever its elements look at."""
        shape = tuple(tensor.shape)
        if batch not in shape:
            raise LayoutError(_folded(shape, batch))
        rest = list(shape)
        rest.remove(batch)
        if not self._may_be_read(tensor.ndim, path, size) or sum(length > 1 for length in rest) < 2:
            fit_layout(tensor, batch, size)
            raise LayoutError(f"An output of shape {shape} is not a map over the {times(size)} input: it has no spatial extent.")


def _as_it_is(shape: tuple[int, ...]) -> KnownOutput:
    """Return what is known of a convolution's output without a measurement."""
    return KnownOutput(Responses(shape, 0.0, [], [], [], []), 0, Finding(ChannelsFirst()))


def _folded(shape: tuple[int, ...], batch: int) -> str:
    return (
        f"An output of shape {shape} does not start with the batch of {batch}: its samples are folded into other axes, or it has no batch "
        "axis. Choose a layer outside of that part of the network."
    )
