"""What was measured of the outputs of a network's layers: where their elements look, and the layouts that follow.

Findings are kept beside the network, by weak reference, for further calls with inputs of the same size.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from camtool.errors import CamtoolError
from camtool.instrumentation.batching import Progress
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.layer_paths import walk
from camtool.instrumentation.patch_counts import patch_counts
from camtool.instrumentation.recurrent import recurrent_paths
from camtool.instrumentation.responses import Sketches, layer_sketches, measure_responses
from camtool.layouts import AxisOrder, Layout, Tokens
from camtool.layouts.localisation import Responses
from camtool.layouts.measured import CERTAIN, Finding, grids_of, judge, positions_among
from camtool.layouts.permutation import measured_cells
from camtool.layouts.token_search import FEW_EXTRA

STRONGER = 100.0
"""Factor of the noise where that of the input's own spread decides nothing, as behind attention that is nearly even."""
MOST_GRIDS = 3
"""Number of grids that are tried for a sequence in an unknown order, the likeliest first."""


@dataclass(frozen=True)
class KnownOutput:
    """What is known of one tensor of a layer, for inputs of one size."""

    responses: Responses
    batch_axis: int | None
    finding: Finding

    def fits(self, shape: Sequence[int], batch: int) -> bool:
        """Return whether a tensor of `shape` with `batch` samples is the measured one but for the number of samples."""
        measured = self.responses.shape
        if self.batch_axis is None:
            return tuple(shape[1:]) == measured[1:]
        expected = [batch if axis == self.batch_axis else length for axis, length in enumerate(measured)]
        return list(shape) == expected


class Key(NamedTuple):
    """A tensor of one call of a layer."""

    path: str
    call: int
    number: int
    """That of the tensor among those of the output."""
    size: tuple[int, ...]
    """Of the input."""
    input: tuple[str | int, ...]
    """Which of the network's inputs it is."""


Sketching: TypeAlias = Callable[[nn.Module, Mapping[str, nn.Module], Mapping[str, int]], Callable[[Inputs], Sketches]]
"""Takes the network, the layers by path, and the calls of those that are called several times; returns what runs the network and
sketches tensors of these layers."""

_KNOWN: "WeakKeyDictionary[nn.Module, dict[Sketching, dict[Key, KnownOutput]]]" = WeakKeyDictionary()


class LayerFindings:
    """Measures layers of a network on the first sample of its inputs, and keeps what is found.

    Args:
        progress: called during a measurement as `progress(description, done, total)`.
        sketches: which tensors of a layer are measured; its outputs, if not given.
        calls: by path of layers that are called several times: the number of the call that is measured; the first of the others.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Inputs,
        progress: Progress | None = None,
        *,
        sketches: Sketching = layer_sketches,
        calls: Mapping[str, int] | None = None,
    ) -> None:
        self._calls = {} if calls is None else calls
        self._model = model
        self._sketches = sketches
        self._inputs = inputs
        self._progress = progress
        self._size = tuple(inputs.picture.shape[2:])

    def of(self, path: str, index: int, size: Sequence[int], shape: Sequence[int], batch: int) -> KnownOutput | None:
        """Return what is known of a tensor of `shape` with `batch` samples, the `index`-th of a layer's output; None if nothing."""
        known = self.any(path, index, size)
        return known if known is not None and known.fits(shape, batch) else None

    def any(self, path: str, index: int, size: Sequence[int]) -> KnownOutput | None:
        """Return what is known of the `index`-th tensor of a layer, whatever its shape; None if nothing."""
        return self._known.get(self._key(path, index, tuple(size)))

    def _key(self, path: str, index: int, size: tuple[int, ...]) -> Key:
        return Key(path, self._calls.get(path, 0), index, size, self._inputs.place)

    def measure(self, layers: Mapping[str, nn.Module]) -> None:
        """Measure layers by path: their places, or, where these are known but not in which order they are, the order."""
        unordered = {key: known for key, known in self._known_of(layers).items() if known.finding.permuted_axis is not None}
        self._order(unordered)
        ordered = {key.path for key in unordered}
        rest = {path: layer for path, layer in layers.items() if path not in ordered}
        if rest:
            self._measure(rest)

    @cached_property
    def modules(self) -> dict[str, nn.Module]:
        """All modules of the network by path, shared ones by each of theirs, the network itself at ""."""
        return {"": self._model, **dict(walk(self._model, every_path=True))}

    @cached_property
    def _known(self) -> dict[Key, KnownOutput]:
        return _KNOWN.setdefault(self._model, {}).setdefault(self._sketches, {})

    def _known_of(self, layers: Collection[str]) -> dict[Key, KnownOutput]:
        return {key: known for key, known in self._known.items() if key.path in layers and key == self._key(key.path, key.number, key.size)}

    def _measure(self, layers: Mapping[str, nn.Module]) -> None:
        """Measure where the elements of the layers' outputs look, and keep the findings beside the network."""
        undecided = {}
        for path, tensors in self._responses(layers).items():
            for index, responses in enumerate(tensors):
                if not self._note(path, index, responses):
                    undecided[path] = layers[path]
        if undecided:
            for path, tensors in self._responses(undecided, strength=STRONGER).items():
                for index, responses in enumerate(tensors):
                    self._note(path, index, responses, only_if_found=True)
        self._verify(layers)

    def _responses(
        self, layers: Mapping[str, nn.Module], *, slabs: Sequence[int] | None = None, seed: int = 0, strength: float = 1.0
    ) -> dict[str, list[Responses]]:
        def measured(inputs: Inputs) -> dict[str, list[Responses]]:
            run = self._sketches(self._model, layers, self._calls)
            return measure_responses(self._model, inputs, run, slabs=slabs, seed=seed, strength=strength, progress=self._progress)

        try:
            return measured(self._inputs.first_sample())
        except Exception as error:
            # A network may take no other batch than the given one.
            if isinstance(error, CamtoolError) or len(self._inputs.picture) == 1:
                raise
            return measured(self._inputs)

    def _note(self, path: str, index: int, responses: Responses, *, only_if_found: bool = False) -> bool:
        """Keep the finding of a tensor; return whether it is decided."""
        axis = responses.batch_axis()
        finding = Finding(reason="it has no axis of the samples") if axis is None else self._judged(path, responses, axis)
        key = self._key(path, index, self._size)
        if finding.layout is not None or not only_if_found or key not in self._known:
            kept = responses if finding.doubtful or finding.permuted_axis is not None else responses.without_numbers()
            self._known[key] = KnownOutput(kept, axis, finding)
        return axis is None or finding.decided

    def _judged(self, path: str, responses: Responses, axis: int) -> Finding:
        """Return the finding of a tensor; each step of a recurrent layer, and each patch, is a position, also one that is silent here."""
        lengths = responses.shape[:axis] + responses.shape[axis + 1 :]
        if path in self._recurrent or self._steps.intersection(lengths):
            finding = judge(responses, self._size, axis, extra=0)
            if finding.layout is not None and finding.correlation >= CERTAIN:
                return finding
        stacks = self._stacks if len(responses.shape) - 2 == len(self._size) == 1 else ()
        finding = judge(responses, self._size, axis, self._likely(), stacks=stacks)
        if finding.layout is None or len(lengths) != 2 or self._count(finding.layout, responses) in self._patches:
            return finding
        for extra in sorted({length - patches for length in lengths for patches in self._patches if 0 <= length - patches <= FEW_EXTRA}):
            told = judge(responses, self._size, axis, extra=extra)
            if told.layout is not None and self._count(told.layout, responses) in self._patches:
                return told
        return finding

    @cached_property
    def _stacks(self) -> set[tuple[int, int]]:
        """Rows and cells of what convolutions of two or three axes make of a signal; sequences may be made of these."""
        convolutions = {path: module for path, module in self.modules.items() if isinstance(module, (nn.Conv2d, nn.Conv3d))}
        outputs = LayerFindings(self._model, self._inputs, self._progress)
        unknown = {path: module for path, module in convolutions.items() if outputs.any(path, 0, self._size) is None}
        if unknown:
            outputs.measure(unknown)
        found = set()
        for known in filter(None, (outputs.any(path, 0, self._size) for path in convolutions)):
            layout, shape = known.finding.layout, known.responses.shape
            if isinstance(layout, AxisOrder) and layout.channel_axes(shape)[1:]:
                cells = self._count(layout, known.responses)
                found.add((math.prod(shape) // (shape[1] * cells), cells))  # a convolution's second axis are its features
        return {(rows, cells) for rows, cells in found if rows > 1}

    @cached_property
    def _recurrent(self) -> set[str]:
        return recurrent_paths(self._model, self.modules)

    @cached_property
    def _patches(self) -> set[int]:
        return patch_counts(self._model, self._inputs)

    def _count(self, layout: Layout, responses: Responses) -> int:
        """Return the number of positions of a tensor."""
        return math.prod(layout.to_maps(torch.empty(responses.shape, device="meta"), self._size).shape[2:])

    @property
    def _steps(self) -> set[int]:
        """Lengths of the sequences of recurrent layers: what stands behind them has as many steps."""
        found: set[int] = set()
        if not self._recurrent:
            return found
        for key, known in self._known.items():
            layout = known.finding.layout
            if layout is not None and (key.size, key.input) == (self._size, self._inputs.place) and key.path in self._recurrent:
                found.add(self._count(layout, known.responses))
        return found

    def _likely(self) -> list[Layout]:
        layouts = [known.finding.layout for key, known in self._known.items() if (key.size, key.input) == (self._size, self._inputs.place)]
        found: list[Layout] = []
        for layout in layouts:
            if layout is not None and layout not in found:
                found.append(layout)
        return found

    def _verify(self, layers: Mapping[str, nn.Module]) -> None:
        """Measure doubtful grids again with as many slabs as cells: windows and pairs of tokens look like rows of them to a few slabs."""
        doubtful = {
            key: known
            for key, known in self._known_of(layers).items()
            if key.size == self._size and known.finding.doubtful and isinstance(known.finding.layout, Tokens)
        }
        for grid in {known.finding.layout.grid for known in doubtful.values() if isinstance(known.finding.layout, Tokens)}:
            same = {key: known for key, known in doubtful.items() if getattr(known.finding.layout, "grid", None) == grid}
            cells = self._cells({key.path: layers[key.path] for key in same}, same, grid or ())
            for key, known in same.items():
                layout = known.finding.layout
                assert isinstance(layout, Tokens)
                finding = replace(known.finding, doubtful=False)
                expected = layout.cells_of(known.responses.shape, self._size)
                measured = cells[key]
                if measured is None or not torch.equal(measured, expected):
                    reason = "its elements look at places in an order that is not known"
                    finding = Finding(permuted_axis=layout.axis, spreads=finding.spreads, reason=reason)
                self._known[key] = replace(known, finding=finding)

    def _order(self, unordered: Mapping[Key, KnownOutput]) -> None:
        """Measure the order of sequences whose tokens look at places, but in none that is known."""
        grids = {}
        for key, known in unordered.items():
            assert known.finding.permuted_axis is not None
            grids[key] = grids_of(len(positions_among(known.responses, known.finding.permuted_axis)), self._size)[:MOST_GRIDS]
        for attempt in range(MOST_GRIDS):
            rest = {key: found[attempt] for key, found in grids.items() if attempt < len(found) and self._is_unordered(key)}
            for grid in set(rest.values()):
                same = {key: unordered[key] for key in rest if rest[key] == grid}
                for key, cells in self._cells({key.path: self.modules[key.path] for key in same}, same, grid).items():
                    if cells is not None:
                        known, axis = unordered[key], unordered[key].finding.permuted_axis
                        layout = Tokens(cells=cells, axis=axis, batch_axis=known.batch_axis or 0)
                        self._known[key] = replace(known, finding=replace(known.finding, layout=layout, permuted_axis=None))
        for key in filter(self._is_unordered, unordered):
            self._known[key] = replace(unordered[key], finding=replace(unordered[key].finding, permuted_axis=None))

    def _is_unordered(self, key: Key) -> bool:
        return self._known[key].finding.permuted_axis is not None

    def _cells(self, layers: Mapping[str, nn.Module], known: Mapping[Key, KnownOutput], grid: Sequence[int]) -> dict[Key, Tensor | None]:
        """Return the token of each cell of a grid, as two seeds agree on it; None where they do not, or it is no bijection."""
        by_seed = [self._responses(layers, slabs=grid, seed=seed) for seed in (1, 2)]
        found: dict[Key, Tensor | None] = {}
        for key, tensor in known.items():
            layout, axis = tensor.finding.layout, tensor.finding.permuted_axis
            tokens = None
            if isinstance(layout, Tokens):
                axis, tokens = layout.axis, layout.cells_of(tensor.responses.shape, self._size).flatten().sort().values
            assert axis is not None
            if tokens is None:
                tokens = positions_among(tensor.responses, axis)
            first, second = (measured_cells(responses[key.path][key.number], axis, grid, tokens) for responses in by_seed)
            found[key] = first if first is not None and second is not None and torch.equal(first, second) else None
        return found
