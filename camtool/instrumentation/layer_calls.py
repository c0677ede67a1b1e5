"""Calls of layers: which one is explained of a layer that a forward pass calls several times.

A Siamese network calls its backbone once for each picture, a recurrent one its block once for each step, a detector its head once for
each scale. Calls are numbered from 0, in the order in which they end.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, SupportsIndex, TypeAlias

import torch
from torch import Tensor, nn

from camtool.errors import LayerError, TargetError, warn
from camtool.functional import to_float32
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.interception import changed_output
from camtool.instrumentation.layer_paths import find_layer
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.nested import mapped, tensors_in
from camtool.instrumentation.randomness import SameRandomNumbers
from camtool.instrumentation.responses import noise_like
from camtool.targets import resolve_targets, scores, scores_in

Call: TypeAlias = int | Mapping[str, int] | None
"""Number of the explained call, negative from the end; by layer path where it differs; None: the last that reaches the score."""

NOISE = 2_611_923_443_488_327_891


class UnsettledCallError(LayerError):
    """It has to be settled first which call of a layer is explained."""


class LayerCalls:
    """Chooses the call of each layer in one CAM call: the given one, else the last on the way from the picture to the score.

    Args:
        model: the network itself.
        inputs: of the call.
        targets: of the call, as `resolve_targets` takes them: what the score is.
        given: as of `read_call`.
        layers: paths of the layers concerned, each of which must have the given call; None: all, of which it concerns those that have it.
    """

    def __init__(
        self, model: nn.Module, inputs: Inputs, targets: Any = None, given: Call = None, *, layers: Iterable[str] | None = None
    ) -> None:
        self._model = model
        self._inputs = inputs
        self._targets = targets
        self._given = given
        self._layers = None if layers is None else set(layers)
        self._same = SameRandomNumbers(inputs.picture.device, 0)
        self._open: dict[str, int] = {}
        self._is_stale = False
        self.counts: dict[str, int] = {}
        """Number of calls by path of the layers that are called several times."""
        self.recorded: dict[str, int] = {}
        """By path the number of the call, from 0, that a pass has to record; the first of layers that are not in it."""
        for path in self._layers or ():
            number = self._given_for(path)
            if number is not None and number >= 0:
                self.recorded[path] = number

    def require(self, counts: Mapping[str, int]) -> None:
        """Raise UnsettledCallError if a pass recorded the wrong calls, because it was the first to show that there are several.

        Args:
            counts: number of calls in the pass by path.

        Raises:
            LayerError: if a layer has not the given call.
        """
        for path, count in counts.items():
            if not count or (self._layers is not None and path not in self._layers):
                continue
            if count > 1:
                self.counts[path] = count
            if self.recorded.get(path, count) < count:
                continue
            given = self._given_for(path)
            if given is not None and -count <= given < count:
                self.recorded[path] = given % count
                self._is_stale |= self.recorded[path] != 0
            elif given is not None and self._layers is not None:
                raise LayerError(_no_call(path, count, given))
            elif count > 1:
                self._open[path] = count
        if self._is_stale or self._open:
            raise UnsettledCallError("Which call of a layer is explained has to be settled first.")

    def settle(self, *, warns: bool = True) -> bool:
        """Choose the calls that `require` found open, in a pass with a graph and one or more without; return whether it found any.

        Args:
            warns: name the chosen calls in a remark.
        """
        was_unsettled, self._is_stale = self._is_stale or bool(self._open), False
        layers = {path: find_layer(self._model, path)[1] for path in self._open}
        for path, number in self._last_on_the_way(layers).items() if layers else ():
            self.recorded[path] = number
            if warns:
                warn(
                    f"Layer '{path}' is called {self._open[path]} times in a forward pass; call={number} is explained, the last on the way "
                    "from the picture to the score."
                )
        self._open.clear()
        return was_unsettled

    def _given_for(self, path: str) -> int | None:
        return self._given.get(path) if isinstance(self._given, Mapping) else self._given

    def _last_on_the_way(self, layers: Mapping[str, nn.Module]) -> dict[str, int]:
        with evaluating(self._model), torch.no_grad():
            outputs, alive = self._with_gradient(layers)
            seeing = self._that_see_the_picture(layers, outputs)
            return {path: self._last(path, alive[path], seeing[path], layers[path]) for path in layers}

    def _last(self, path: str, alive: Sequence[bool], seeing: Sequence[bool], layer: nn.Module) -> int:
        both = [number for number, pair in enumerate(zip(alive, seeing, strict=False)) if all(pair)]
        if both:
            return both[-1]
        if any(alive):
            return max(number for number, is_alive in enumerate(alive) if is_alive)
        # No gradient: integer layers, torch.no_grad(), a head with weights of zero.
        candidates = [number for number, sees in enumerate(seeing) if sees] or list(range(self._open[path]))
        return next((number for number in reversed(candidates) if self._changes_the_score(layer, number)), candidates[-1])

    def _with_gradient(self, layers: Mapping[str, nn.Module]) -> tuple[dict[str, list[list[Tensor]]], dict[str, list[bool]]]:
        """Return by layer the tensors of each call's output, and whether the score has a gradient there, for any sample and target."""
        outputs: dict[str, list[list[Tensor]]] = {}

        def take(path: str, number: int, output: Any) -> Any:
            # Grad mode is restored by the no_grad() around all passes.
            torch.set_grad_enabled(True)
            outputs[path].append([])

            def part_of_graph(tensor: Tensor) -> Tensor:
                if not tensor.is_floating_point():
                    return tensor
                taken = tensor if tensor.requires_grad else tensor.detach().clone().requires_grad_()
                outputs[path][-1].append(taken)
                return taken.clone()  # the network may work in place

            return mapped(output, part_of_graph)

        def run() -> Tensor:
            outputs.update({path: [] for path in layers})
            with torch.no_grad(), every_call(layers, take):
                return self._score(self._inputs)

        score = self._same(run)
        tensors = [tensor for calls in outputs.values() for taken in calls for tensor in taken]
        gradients: Sequence[Tensor | None] = [None] * len(tensors)
        if score.requires_grad and tensors:
            with suppress(RuntimeError):  # a function without a derivative, or overwritten in place
                gradients = torch.autograd.grad(score, tensors, allow_unused=True)
        reached = {id(tensor) for tensor, gradient in zip(tensors, gradients, strict=True) if gradient is not None and bool(gradient.any())}
        alive = {path: [any(id(tensor) in reached for tensor in taken) for taken in calls] for path, calls in outputs.items()}
        return {path: [[tensor.detach() for tensor in taken] for taken in calls] for path, calls in outputs.items()}, alive

    def _that_see_the_picture(self, layers: Mapping[str, nn.Module], outputs: Mapping[str, list[list[Tensor]]]) -> dict[str, list[bool]]:
        """Return by layer and call whether the output depends on the picture that the maps lie over, as one with noise shows."""
        seeing: dict[str, list[bool]] = {}

        def compare(path: str, number: int, output: Any) -> None:
            before = outputs[path][number] if number < len(outputs[path]) else []
            after = list(tensors_in(output))
            seeing[path].append(len(before) != len(after) or any(map(_differs, before, after)))

        def run() -> None:
            seeing.update({path: [] for path in layers})
            with torch.no_grad(), every_call(layers, compare):
                self._inputs.with_picture(_disturbed(self._inputs.picture)).run(self._model)

        self._same(run)
        return seeing

    def _changes_the_score(self, layer: nn.Module, chosen: int) -> bool:
        """Return whether the score depends on a call's output, as another output in its place shows."""

        def change(path: str, number: int, output: Any) -> Any:
            return mapped(output, _disturbed) if number == chosen else None

        def run(layers: Mapping[str, nn.Module]) -> Tensor:
            with torch.no_grad(), every_call(layers, change):
                return self._score(self._inputs)

        expected = self._same(partial(run, {}))
        try:
            return _differs(expected, self._same(partial(run, {"": layer})))
        except TargetError:  # the altered output has not what the target names, such as a box
            return True

    def _score(self, inputs: Inputs) -> Tensor:
        """Return the sum of all samples' and targets' scores, each times a number of its own: they must not cancel."""
        logits = scores_in(inputs.run(self._model), batch=len(inputs.picture))
        resolved, _ = resolve_targets(self._targets, logits)
        by_target = [to_float32(scores([row[k] for row in resolved], logits)) for k in range(len(resolved[0]))]
        stacked = torch.stack(by_target)
        weights = torch.rand(stacked.shape, generator=torch.Generator(device="cpu").manual_seed(NOISE), device="cpu").to(stacked)
        return (stacked * (weights + 0.5)).sum()


def read_call(model: nn.Module, given: SupportsIndex | Mapping[str, SupportsIndex] | None) -> Call:
    """Return the explained call as given, layers by their canonical paths.

    Args:
        given: a number, negative from the end, for all layers; or a dict of these by layer path.

    Raises:
        LayerError: if it is no whole number, or of a layer that does not exist.

    Example:
        >>> from torch import nn
        >>> from camtool.instrumentation.layer_calls import read_call
        >>> read_call(nn.Sequential(nn.ReLU()), {"0": -1})
        {'[0]': -1}
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {find_layer(model, str(path))[0]: _number(call) for path, call in given.items()}
    return _number(given)


@contextmanager
def every_call(layers: Mapping[str, nn.Module], meet: Callable[[str, int, Any], Any]) -> Iterator[None]:
    """Let `meet(path, number, output)` see the output of each call of the layers, and change it unless it returns None."""
    counts = dict.fromkeys(layers, 0)

    def change(path: str, module: nn.Module, arguments: Any, output: Any) -> Any:
        number = counts[path]
        counts[path] += 1
        return meet(path, number, output)

    with ExitStack() as stack:
        for path, module in layers.items():
            stack.enter_context(changed_output(module, partial(change, path)))
        yield


def _number(given: Any) -> int:
    try:
        if isinstance(given, bool):
            raise TypeError
        return operator.index(given)
    except TypeError as error:
        raise LayerError(
            f"Expected the number of a layer's call, such as 0 for the first or -1 for the last, or a dict of these by layer path, got "
            f"{given!r}."
        ) from error


def _no_call(path: str, count: int, given: int) -> str:
    numbers = f"0 to {count - 1}, or -{count} to -1" if count > 1 else "0, or -1"
    return (
        f"Layer '{path}' is called {f'{count} times' if count > 1 else 'once'} in a forward pass; expected call={numbers}, got {given}. "
        "Try another number, or a dict of numbers by layer path, of the layers that are called several times."
    )


def _disturbed(tensor: Tensor) -> Tensor:
    """Return the tensor with seeded noise of its own spread."""
    return tensor + noise_like(tensor) if tensor.is_floating_point() else tensor


def _differs(before: Tensor, after: Tensor) -> bool:
    """Return whether two tensors differ by more than rounding."""
    if before.shape != after.shape:
        return True
    if not before.numel():
        return False
    scale = before.abs().amax().clamp(min=torch.finfo(before.dtype).tiny)
    return not bool((before - after).abs().amax() <= 10 * torch.finfo(before.dtype).eps * scale)
