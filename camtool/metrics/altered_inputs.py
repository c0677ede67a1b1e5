"""The explained score of each sample, before and after its input is altered: batched passes of the network, without a trace in it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from camtool.errors import NOT_FINITE, DataError, TargetError, times
from camtool.instrumentation.batching import in_chunks
from camtool.instrumentation.ending import last_activation, may_be_probabilities, sum_to_one
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.randomness import SameRandomNumbers
from camtool.metrics.settings import callable_of, checked_seed, whole
from camtool.metrics.thresholds import as_tensor
from camtool.targets import ClassProbability, FromLogits, Output, Target, resolve_targets, scores, scores_in

Model: TypeAlias = nn.Module | Callable[[Tensor], Any]
"""A network, or a function of inputs (n, c, *spatial); the output holds scores as `camtool.targets.find_logits` finds them."""
Maps: TypeAlias = np.ndarray | Tensor
Explanations: TypeAlias = Maps | Mapping[str, Maps]
"""Maps of one method, or of several by name, which share what they can."""


class ExplainedScores:
    """The score of each sample that its map explains, of the inputs and of altered ones.

    One rule for targets: a class index, or None for the class predicted of the unaltered input, means this class's probability: by a
    softmax, or a sigmoid of a single score, or as it is where the network gives probabilities (its output comes from a softmax or a
    sigmoid, or is non-negative and sums to 1). Any other target of `camtool.targets`, or a callable, is its own value:
    `ClassScore(3)` the logit of class 3, `ClassProbability(3, scale="sigmoid")` the probability of a multi-label network.

    Args:
        inputs: (n, c, *spatial), preprocessed.
        targets: as of `CAM`, one a sample.
        batch_size: altered inputs in one pass of the network.

    Raises:
        DataError: if the inputs have no values, or such that are not finite.
        TargetError: if the targets do not fit the output, or its scores are NaN.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> inputs = torch.tensor([[[2.0, 0.0]]])
        >>> found = ExplainedScores(nn.Flatten(), inputs, 0)  # its scores are the inputs' values
        >>> found.before, found.of(torch.tensor([0, 0]), lambda rows: inputs[[0, 0]] * torch.tensor([[[0.0]], [[1.0]]]))
        (tensor([0.8808], dtype=torch.float64), tensor([0.5000, 0.8808], dtype=torch.float64))
    """

    def __init__(self, model: Model, inputs: Tensor, targets: Any = None, batch_size: int = 32) -> None:
        self.inputs = checked_inputs(inputs)
        self.batch_size = whole(batch_size, "a batch size of at least 1")
        self._model = callable_of(model, "a network, or a function of inputs (n, c, *spatial)")
        self._same = SameRandomNumbers(self.inputs.device, 0)
        outputs: list[tuple[int, Output]] = []
        with self._running():
            in_chunks(
                len(self.inputs), self.batch_size, lambda start, stop: outputs.append((start, self._forward(self.inputs[start:stop])))
            )
        self._scale = self._scale_of([output for _, output in outputs])
        self.targets: list[Target] = []
        """Of each sample, fitted to the network's output."""
        values = []
        for start, output in outputs:
            found = self._resolved(_part(targets, start, len(output), len(self.inputs)), output)
            self.targets += found
            values.append(self._values(found, output))
        self.before: Float[Tensor, " n"] = torch.cat(values).cpu().double()
        """The score of the unaltered inputs."""

    @property
    def given_targets(self) -> list[Any]:
        """The targets for a function that explains: class indices where that is what they are, else callables."""
        return [target.index if isinstance(target, _IndexedProbability) else target for target in self.targets]

    def of(self, samples: Int[Tensor, " m"], altered: Callable[[Int[Tensor, " rows"]], Tensor]) -> Float[Tensor, " m"]:
        """Return the scores of altered inputs, in float64 on the CPU.

        Args:
            samples: of each altered input the sample that it was.
            altered: returns the altered inputs (rows, c, *spatial) of some rows of `samples`, given by their numbers.

        Raises:
            TargetError: if a score is NaN.
        """
        values: list[Tensor] = []

        def run(start: int, stop: int) -> None:
            output = self._forward(altered(torch.arange(start, stop, device=self.inputs.device)))
            values.append(self._values([self.targets[sample] for sample in samples[start:stop].tolist()], output))

        with self._running():
            in_chunks(len(samples), self.batch_size, run)
        found = torch.cat(values).cpu().double()
        if found.isnan().any():
            sample = int(samples[int(found.isnan().nonzero()[0, 0])])
            raise TargetError(f"The network's score is NaN on an altered input of sample {sample}.", status=NOT_FINITE)
        return found

    @contextmanager
    def _running(self) -> Iterator[None]:
        with evaluating(self._model) if isinstance(self._model, nn.Module) else nullcontext(), torch.no_grad():
            yield

    def _forward(self, inputs: Tensor) -> Output:
        return scores_in(self._same(partial(self._model, inputs)), len(inputs))

    def _scale_of(self, outputs: list[Any]) -> str:  # of other lengths each
        tensors = [output for output in outputs if isinstance(output, Tensor) and output.ndim == 2]
        if len(tensors) < len(outputs) or not all(map(may_be_probabilities, tensors)):
            return "softmax"
        if all(map(sum_to_one, tensors)):
            return "probability"
        network = self._model if isinstance(self._model, nn.Module) else _Called(self._model)
        return "probability" if last_activation(network, self.inputs[:1]) else "softmax"

    def _resolved(self, targets: Any, output: Output) -> list[Target]:
        if isinstance(targets, FromLogits):
            targets = targets.choose(output.detach())
        if targets is None and isinstance(output, Tensor) and output.ndim == 2 and not output.isnan().any():
            targets = output.argmax(dim=1).tolist()
        if targets is not None and not callable(targets):
            of_each = isinstance(targets, (list, tuple)) or getattr(targets, "ndim", 0) > 0
            targets = [self._probability(item) for item in targets] if of_each else self._probability(targets)
        lists, several = resolve_targets(targets, output)
        if several:
            raise TargetError("Expected one target per sample, got lists of targets; score the maps of one target at a time.")
        return [target for (target,) in lists]

    def _probability(self, item: Any) -> Any:
        try:
            return item if callable(item) else _IndexedProbability(item, scale=self._scale)
        except TypeError:  # a list of targets, or no class index: `resolve_targets` says what is wrong
            return item

    def _values(self, targets: list[Target], output: Output) -> Tensor:
        if all(type(target) is _IndexedProbability for target in targets) and isinstance(output, Tensor):
            values = output.float() if output.dtype != torch.float64 else output
            if self._scale != "probability":
                values = values.sigmoid() if output.shape[1] == 1 else values.softmax(dim=1)
            indices = torch.tensor([target.index for target in targets], device=output.device)  # type: ignore[attr-defined]
            return values.gather(1, indices.unsqueeze(1)).squeeze(1)
        return scores(targets, output)


class _IndexedProbability(ClassProbability):
    """The probability of a class that was given by its index."""


class _Called(nn.Module):
    """A function as a network."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, inputs: Tensor) -> Any:
        return self._function(inputs)


def _part(targets: Any, start: int, count: int, samples: int) -> Any:
    """Return the targets of some samples; one for all, or a wrong number of them, as they are."""
    is_list = isinstance(targets, (list, tuple)) or getattr(targets, "ndim", 0) > 0
    if is_list and len(targets) != samples:
        raise TargetError(f"Expected one target per sample: {samples} samples, {len(targets)} targets.")
    return targets[start : start + count] if is_list else targets


def checked_inputs(inputs: Tensor) -> Tensor:
    """Return inputs (n, c, *spatial) without a graph; DataError if they are none, or not finite."""
    if not isinstance(inputs, Tensor) or inputs.ndim < 3 or not inputs.numel() or not inputs.is_floating_point():
        got = f"{inputs.dtype} of shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
        raise DataError(f"Expected preprocessed inputs (n, c, *spatial) in floating point, got {got}.")
    if not inputs.isfinite().all():
        sample = int((~inputs.isfinite()).flatten(1).any(dim=1).nonzero()[0, 0])
        raise DataError(f"Expected finite inputs, got NaN or infinity in sample {sample}; leave it out.", status=NOT_FINITE)
    return inputs.detach()


def checked_maps(maps: Maps, inputs: Tensor, *, channels: bool = False, varied: bool = True) -> Tensor:
    """Return maps (n, *spatial) at the inputs' size on their device, without a graph.

    Args:
        channels: whether attributions (n, c, *spatial), one a channel, will do as well.
        varied: whether a map must differ between positions.

    Raises:
        DataError: if they have another size, are not finite, or one is the same everywhere.
    """
    found = as_tensor(maps).to(inputs.device)
    found = found if found.is_floating_point() else found.float()
    size = inputs.shape[2:]
    if found.shape != (len(inputs), *size) and not (channels and found.shape == inputs.shape):
        has_channels = found.ndim == inputs.ndim and found.shape[2:] == size
        advice = "maps.sum(dim=1), for attributions of channels" if has_channels else f"camtool.functional.resize(maps, {tuple(size)})"
        raise DataError(
            f"Expected maps (n, *spatial) of the inputs' size, {len(inputs)} of {times(size)}, got shape {tuple(found.shape)}; "
            f"{'add them up' if has_channels else 'resize them'} first: {advice}."
        )
    flat = found.flatten(1)
    if not flat.isfinite().all():
        sample = int((~flat.isfinite()).any(dim=1).nonzero()[0, 0])
        raise DataError(f"Expected finite maps, got NaN or infinity in that of sample {sample}; leave it out.", status=NOT_FINITE)
    constant = flat.amin(dim=1) == flat.amax(dim=1)
    if varied and constant.any():
        sample = int(constant.nonzero()[0, 0])
        raise DataError(
            f"Expected a map that differs between positions, got {float(flat[sample, 0]):.3g} everywhere in that of sample {sample}."
        )
    return found


def named_maps(maps: Explanations, alone: str) -> dict[str, Maps]:
    """Return what a function that explains returned as maps by method; DataError if it has none.

    Args:
        alone: the name of maps that have none.

    Example:
        >>> list(named_maps(np.zeros((1, 4)), "")), list(named_maps({"gradcam": np.zeros((1, 4))}, ""))
        ([''], ['gradcam'])
    """
    by_name = dict(maps) if isinstance(maps, Mapping) else {alone: maps}
    if not by_name:
        raise DataError("Expected maps of at least one method, got an empty dict; return the maps by the methods' names.")
    return by_name


def removal_ranks(maps: Float[Tensor, "n *spatial"], seed: int) -> Int[Tensor, "n positions"]:
    """Return of each position its place in the map's descending order, from 0; equal values are in an order drawn from the seed.

    A sample's order does not depend on the others of its batch.

    Example:
        >>> import torch
        >>> removal_ranks(torch.tensor([[0.5, 3.0, 1.0]]), seed=0)
        tensor([[2, 0, 1]])
    """
    flat = maps.flatten(1)
    drawn = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(checked_seed(seed))).to(flat.device)
    order = drawn[flat[:, drawn].argsort(dim=1, descending=True, stable=True)]
    ranks = torch.empty_like(order)
    return ranks.scatter_(1, order, torch.arange(flat.shape[1], device=flat.device).expand_as(order))


def hyperplane(size: tuple[int, ...]) -> int:
    """Return the shorter side to the power of the number of axes less one: 224 pixels of a picture, 1 of a signal.

    Example:
        >>> hyperplane((224, 320)), hyperplane((1000,)), hyperplane((8, 8, 8))
        (224, 1, 64)
    """
    return int(min(size) ** (len(size) - 1))
