"""Places of attention: which of the queries and keys of each recorded attention look where in the picture, as measured.

What is measured are the scores before the softmax, which show the tokens also where attention is nearly even.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from camtool.instrumentation.attention import Attention, AttentionRecorder
from camtool.instrumentation.batching import Progress
from camtool.instrumentation.calls import ThreadHook
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.layer_findings import KnownOutput, LayerFindings
from camtool.instrumentation.nested import tensors_in
from camtool.instrumentation.responses import Sketch, Sketches, measure_responses, sketched
from camtool.layouts import Layout, Tokens

MASKED = -1e4
"""Scores below are those of hidden keys."""
VARYING = "it cannot be measured where its tokens look, because its shape differs from pass to pass"


@dataclass(frozen=True)
class TokenPlaces:
    """Where the queries, or the keys, of one attention look."""

    depends: bool = True
    """Whether they depend on the picture at all."""
    layout: Layout | None = None
    """Confirmed layout of (1, length, 1), or of what the attention's module is given."""
    cells: Tensor | None = None
    """(*grid): index of each cell's token; None if it is not known."""
    reason: str = ""
    """Why it is not known, in words."""


@dataclass(frozen=True)
class AttentionPlaces:
    """Where the tokens of one attention look."""

    queries: TokenPlaces
    keys: TokenPlaces

    @property
    def depends(self) -> bool:
        """Whether the attention depends on the picture at all."""
        return self.queries.depends or self.keys.depends


class AttentionFindings:
    """Measures recorded attention on the first sample of a network's inputs; what is found is kept beside the network.

    Args:
        progress: called during a measurement as `progress(description, done, total)`.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, progress: Progress | None = None) -> None:
        self._model, self._inputs = model, inputs
        self._scores = LayerFindings(model, inputs, progress, sketches=score_sketches)
        self._given = LayerFindings(model, inputs, progress, sketches=given_sketches)
        self._size = tuple(inputs.picture.shape[2:])
        self._is_signal = sum(length > 1 for length in self._size) == 1

    def depend(self, records: Sequence[Attention]) -> list[bool]:
        """Return for each record whether it depends on the picture; in a few passes, if its places are not known yet."""
        names = _numbered(records)
        known = [self._known(name, record) for name, record in zip(names, records, strict=True)]
        if all(queries and keys for queries, keys in known):
            return [bool(queries and keys and (queries.finding.depends or keys.finding.depends)) for queries, keys in known]
        run = score_sketches(self._model, {path: self._scores.modules[path] for path, _ in names})
        try:
            inputs = self._inputs.first_sample()
            found = measure_responses(self._model, inputs, run, slabs=[1] * len(self._size))
        except Exception:
            if len(self._inputs.picture) == 1:
                raise
            found = measure_responses(self._model, self._inputs, run, slabs=[1] * len(self._size))
        return [any(part.answers() for part in found.get(path, [])[2 * number : 2 * number + 2]) for path, number in names]

    def of(self, records: Sequence[Attention]) -> list[AttentionPlaces]:
        """Return the places of each record; what is not known yet is measured."""
        names = _numbered(records)
        pairs = list(zip(names, records, strict=True))
        unknown = [path for (path, number), record in pairs if None in self._known((path, number), record)]
        if unknown:
            self._scores.measure(self._modules(unknown))
        unordered = [path for name, record in pairs for known in self._known(name, record) if _is_unordered(known) for path in name[:1]]
        if unordered:
            self._scores.measure(self._modules(unordered))
        places = {}
        for name, record in pairs:
            places[name] = [self._places(known, length) for known, length in zip(self._known(name, record), _lengths(record), strict=True)]
        # Of a signal any number of tokens may be positions, and a class token's scores look at places, too; those of a trained network may
        # look at an object from afar. What the attention is given tells more.
        asked = self._is_signal or _differ([place.cells for name in names for place in places[name]])
        undecided = [name for name in names if any(place.depends and (asked or place.cells is None) for place in places[name])]
        self._measure_given(undecided)
        for name, record in pairs:
            if name in undecided:
                places[name] = [self._or_given(place, name, record, asked=asked) for place in places[name]]
        return [AttentionPlaces(*places[name]) for name in names]

    def _modules(self, paths: Sequence[str]) -> dict[str, nn.Module]:
        return {path: self._scores.modules[path] for path in paths}

    def _known(self, name: tuple[str, int], record: Attention) -> tuple[KnownOutput | None, KnownOutput | None]:
        path, number = name
        queries, keys = (
            self._scores.of(path, 2 * number + index, self._size, (1, length, 1), 1) for index, length in enumerate(_lengths(record))
        )
        return queries, keys

    def _places(self, known: KnownOutput | None, length: int) -> TokenPlaces:
        if known is None:
            return TokenPlaces(reason=VARYING)
        finding = known.finding
        cells = cells_of(finding.layout, known.responses.shape, length, self._size)
        return TokenPlaces(finding.depends, finding.layout, cells, finding.reason)

    def _measure_given(self, names: Sequence[tuple[str, int]]) -> None:
        """Measure the tokens that the modules of these attentions are given, their order included."""
        given = {name: self._known_given(name) for name in names}
        unknown = [path for (path, number), known in given.items() if known is None]
        if unknown:
            self._given.measure(self._modules(unknown))
        unordered = [name[0] for name in names if _is_unordered(self._known_given(name))]
        if unordered:
            self._given.measure(self._modules(unordered))

    def _known_given(self, name: tuple[str, int]) -> KnownOutput | None:
        return self._given.any(*name, self._size)

    def _or_given(self, place: TokenPlaces, name: tuple[str, int], record: Attention, *, asked: bool) -> TokenPlaces:
        """Return the places of the tokens that the module is given, where the attention's own are not found, or if they are `asked`."""
        known = self._known_given(name)
        if not place.depends or (place.cells is not None and not asked) or known is None:
            return place
        cells = cells_of(known.finding.layout, known.responses.shape, record.weights.shape[-1], self._size)
        if cells is None or not (self._is_signal or _agree_mostly(place.cells, cells)):
            return place
        return TokenPlaces(True, known.finding.layout, cells)


def _differ(cells: Sequence[Tensor | None]) -> bool:
    """Return whether some of what is known contradicts the rest."""
    known = [order for order in cells if order is not None]
    return any(not torch.equal(order, known[0]) for order in known)


def _agree_mostly(known: Tensor | None, other: Tensor) -> bool:
    """Return whether most cells have the same token, or it is not known; where a module moves its tokens itself, most have another."""
    return known is None or (known.shape == other.shape and bool((known == other).sum() > known.numel() / 2))


def cells_of(layout: Layout | None, shape: Sequence[int], length: int, size: Sequence[int]) -> Tensor | None:
    """Return (*grid): the index of each cell's token among `length` ones in a tensor of `shape`; None if the layout has other tokens."""
    if isinstance(layout, Tokens):
        axis = layout.axis
        return layout.cells_of(shape, size) if axis is not None and shape[axis] == length else None
    if layout is None or len(shape) != 3:
        return None
    grid = layout.to_maps(torch.empty(tuple(shape), device="meta"), size).shape[2:]  # a signal without extra tokens
    return torch.arange(length, device="cpu") if tuple(grid) == (length,) else None


def score_sketches(
    model: nn.Module, layers: Mapping[str, nn.Module], calls: Mapping[str, int] | None = None
) -> Callable[[Inputs], Sketches]:
    """Return a function that runs the network and returns, by module, the sketches of queries and keys of each of its attentions.

    They have shape (1, length, 1), whatever the batch and the heads; those of all calls, whatever `calls`.
    """

    def run(inputs: Inputs) -> Sketches:
        seen: dict[str, list[Sketch]] = {path: [] for path in layers}
        with AttentionRecorder(model, differentiate=False) as recorder:
            inputs.run(model)
        for record in recorder.records:
            if record.path in seen:
                scores = torch.where(record.scores > MASKED, record.scores, 0.0)
                sketch, nothing = sketched(scores), torch.zeros(0, device="cpu")
                for axis in (-2, -1):
                    seen[record.path].append(Sketch((1, scores.shape[axis], 1), sketch.eps, [nothing, sketch.samples[axis], nothing]))
        return seen

    return run


def given_sketches(
    model: nn.Module, layers: Mapping[str, nn.Module], calls: Mapping[str, int] | None = None
) -> Callable[[Inputs], Sketches]:
    """Return a function that runs the network and returns the sketches of the tokens that modules are given, call by call.

    A call that is given several sequences has an empty one: queries and keys may be different ones.
    """

    def run(inputs: Inputs) -> Sketches:
        seen: dict[str, list[Sketch]] = {path: [] for path in layers}

        def remember(path: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(module: nn.Module, arguments: Any, options: Any) -> None:
                given = [tensor for tensor in tensors_in([arguments, options]) if tensor.ndim == 3]
                alone = bool(given) and all(tensor is given[0] for tensor in given)
                seen[path].append(sketched(given[0] if alone else torch.zeros(0, device="cpu")))

            return hook

        with ExitStack() as stack:
            for path, module in layers.items():
                stack.callback(module.register_forward_pre_hook(ThreadHook(remember(path)), with_kwargs=True).remove)
            inputs.run(model)
        return seen

    return run


def _numbered(records: Sequence[Attention]) -> list[tuple[str, int]]:
    """Return for each record its module's path, and the number of attentions of that module before it."""
    counts: dict[str, int] = {}
    names = []
    for record in records:
        names.append((record.path, counts.get(record.path, 0)))
        counts[record.path] = names[-1][1] + 1
    return names


def _lengths(record: Attention) -> tuple[int, int]:
    return record.weights.shape[-2], record.weights.shape[-1]


def _is_unordered(known: KnownOutput | None) -> bool:
    return known is not None and known.finding.permuted_axis is not None
