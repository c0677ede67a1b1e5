"""Copies of a sample beside different ones: whether a network's scores of a sample are the same whatever stands beside it in a batch.

Identical copies would hide what couples samples: a batch norm without running statistics takes those of the batch, which are the same for
two equal samples as for one; an input as long as the batch by accident, such as the captions of a zero-shot classifier, would be cut.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from camtool.errors import MethodError, TargetError, is_out_of_memory
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.module_state import evaluating, is_quantised
from camtool.instrumentation.nested import tensors_in
from camtool.targets import Output, PerSample, samples_of, scores_in

QUANTISED_TOLERANCE = 0.05
"""Share of the largest score. Integer layers that choose their scale at run time choose it for the whole batch."""


def beside_different(tensor: Tensor, *, axis: int, batch: int) -> Tensor:
    """Return the tensor's first sample with one or two different samples behind it, never as many as `batch`.

    The other ones are mirrored along all axes and halved, or thirded: other means and variances, in the same range.

    Example:
        >>> import torch
        >>> from camtool.instrumentation.copies import beside_different
        >>> beside_different(torch.tensor([[2.0, 4.0], [6.0, 8.0]]), axis=0, batch=3)
        tensor([[2., 4.],
                [2., 1.]])
    """
    own = tensor.detach().narrow(axis, 0, 1)
    others = [own.flip(list(range(own.ndim))) / (2 + number) for number in range(2 if batch == 2 else 1)]
    return torch.cat([own, *others], dim=axis)


def first_agrees(output: Any, count: int, expected: Output, *, tolerance: float = 0.0) -> bool:
    """Return whether the scores of the first of `count` samples in a network's output are those of the first in `expected`.

    Args:
        tolerance: share of the largest score; at least the rounding of other kernels for another batch.

    Raises:
        TargetError: if the output has no scores of `count` samples.
    """
    return _same(scores_in(output, batch=count), expected, tolerance)


def copies_agree(run: Callable[[list[int]], Any], count: int, expected: Output, *, tolerance: float = 0.0, both: bool = True) -> bool:
    """Return whether a sample and a different one have the same scores beside each other as among their like.

    Both are asked: a batch that is divided by its maximum leaves the sample that has it as it is, and changes the other one.

    Args:
        run: `run(numbers)` returns the network's output for these of `count` copies, of which 0 is the sample itself.
        expected: the scores of the sample alone.
        tolerance: share of the largest score; at least the rounding of other kernels for another batch.
        both: False: the first alone.

    Raises:
        TargetError: if an output has no scores of its copies.
    """
    together = scores_in(run(list(range(count))), batch=count)
    if not _same(together, expected, tolerance):
        return False
    # Detections of what is hardly a picture lie on the edge of the detector's thresholds, where rounding decides.
    if not both or isinstance(together, PerSample):
        return True
    alike = scores_in(run([1] * count), batch=count)
    return _same(samples_of(together, slice(1, 2)), alike, tolerance, beside=samples_of(expected, slice(1)))


def check_copies(model: nn.Module, inputs: Inputs, expected: Output, run: Callable[[list[int]], Any], count: int) -> None:
    """Raise MethodError if the scores of a sample in `run`, where different copies stand beside it, are not those of it alone.

    A network whose scores of the same inputs differ by themselves is not judged.

    Args:
        inputs: the inputs that gave `expected`.
        run: see `copies_agree`.
        count: number of the copies.
    """
    quantised = is_quantised(model)
    tolerance = QUANTISED_TOLERANCE if quantised else 0.0
    with torch.no_grad():
        try:
            # The scale that integer layers choose for the whole batch is too coarse for the smaller ones in it.
            if copies_agree(run, count, expected, tolerance=tolerance, both=not quantised):
                return
            found = "the scores of a sample change"
        except TargetError as error:
            found = f"there are no scores by sample ({error})"
        except Exception as error:  # networks raise anything on inputs that do not belong together
            if is_out_of_memory(error):
                raise
            found = f"the network raises {type(error).__name__} ({' '.join(str(error).split())[:200]})"
        if not first_agrees(inputs.run(model), len(inputs.picture), expected, tolerance=tolerance):
            return
    raise MethodError(
        f"Expected a network that treats the samples of a batch one by one, got one where {found} when different copies stand beside it: a "
        "batch norm without running statistics, for one, or an input that is as long as the batch but belongs to no sample; try "
        "per_sample=… to name the inputs that do, or a method that needs no altered copies, such as 'gradcam', without aug_smooth."
    )


def check_samples_in_front(model: nn.Module, inputs: Inputs, logits: Output) -> None:
    """Raise TargetError if the first axis of the scores (n, n, …) of n inputs is not that of the samples.

    Scores (time, n, classes) of as many steps as samples look like those of samples; for one sample alone they do not.
    """
    count = len(inputs.picture)
    if count == 1 or not isinstance(logits, Tensor) or logits.ndim < 3 or logits.shape[:2] != (count, count):
        return
    with torch.no_grad():
        try:
            scores_in(inputs.first_sample().run(model), batch=1)
        except TargetError as error:
            raise TargetError(
                f"Expected the samples along the first axis of the network's output, got {tuple(logits.shape)}, whose first axis is as "
                f"long as the batch by accident: of one sample alone, {error} Try a module around the network that moves the samples to "
                "the front."
            ) from error


def with_own_samples(model: nn.Module, inputs: Inputs) -> Inputs:
    """Return the inputs with a batch axis for those alone that belong to the samples; an axis may have the size of the batch by accident.

    Where other inputs have such an axis, the network is run with the first sample beside a different one: cut and repeated with the
    samples are the inputs, as many as possible, for which the first one's scores are those that the whole batch gave. Where no choice
    does that, the inputs are returned as they are.
    """
    others = [place for place in inputs.batch_axes if place != inputs.place]
    if not others:
        return inputs
    tolerance = QUANTISED_TOLERANCE if is_quantised(model) else 0.0
    batch = len(inputs.picture)
    with evaluating(model), torch.no_grad():
        try:
            expected = scores_in(inputs.run(model), batch=batch)
        except TargetError:
            return inputs
        for chosen in _choices(others):
            candidate = replace(inputs, batch_axes={place: inputs.batch_axes[place] for place in (inputs.place, *chosen)})
            try:
                beside, count = first_beside_different(candidate)
                if first_agrees(beside.run(model), count, expected, tolerance=tolerance):
                    return candidate
            except Exception:  # noqa: BLE001 - networks raise anything on inputs that do not belong together
                continue
    return inputs


def first_beside_different(inputs: Inputs) -> tuple[Inputs, int]:
    """Return inputs of the first sample with different pictures behind it, and how many samples these are."""
    pictures = beside_different(inputs.picture, axis=0, batch=len(inputs.picture))
    return inputs.first_sample().repeated(len(pictures)).with_picture(pictures), len(pictures)


def _choices(others: list[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield which of the other inputs belong to the samples: all first, none last; of many inputs one, at most, does not."""
    sizes = range(len(others), -1, -1) if len(others) <= 3 else (len(others), len(others) - 1, 0)
    for size in sizes:
        yield from combinations(others, size)


def _same(output: Tensor | PerSample, expected: Tensor | PerSample, tolerance: float, beside: Tensor | PerSample | None = None) -> bool:
    """Return whether the first sample's scores are equal; `beside` are others, of the same scale."""
    first, known = (samples_of(scores, slice(1)).detach() for scores in (output, expected))
    if isinstance(first, PerSample) or isinstance(known, PerSample):
        pairs = list(tensors_in(list(first))), list(tensors_in(list(known)))
        return len(pairs[0]) == len(pairs[1]) and all(_agree(one, other, tolerance) for one, other in zip(*pairs, strict=True))
    return _agree(first, known, tolerance, beside if isinstance(beside, Tensor) else None)


def _agree(output: Tensor, expected: Tensor, tolerance: float, beside: Tensor | None = None) -> bool:
    if output.shape != expected.shape:
        return False
    finite = expected.isfinite()
    if not finite.any():
        return not output.isfinite().any()
    scale = expected[finite].abs().amax().clamp(min=torch.finfo(expected.dtype).tiny)
    if beside is not None:
        scale = torch.maximum(scale, beside.detach().abs().amax())
    # 3e-4 of float32: other kernels for another batch, not other mathematics; of bfloat16 the root of eps would be 9 %.
    tolerance = max(tolerance, min(torch.finfo(expected.dtype).eps ** 0.5, 0.02))
    return bool(torch.equal(finite, output.isfinite()) and (output - expected)[finite].abs().amax() <= tolerance * scale)
