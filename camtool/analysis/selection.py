"""Selection of channels by their importance: seven modes, each a mask (classes, channels)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from camtool.analysis.importance import Importance
from camtool.errors import DataError, closest

MODES = ("all", "max", "top", "freq", "diff_top", "reverse_diff_top", "index")
_RANKED = ("top", "diff_top", "reverse_diff_top")
_ROUNDING = 1e-9  # 0.29 * 100 is 28.999999999999996


def selection_masks(importance: Importance, mode: str, *, ratio: float = 1.0, index: Sequence[int] = ()) -> Float[np.ndarray, "k c"]:
    """Return for each class which channels are kept, 1 or 0; a row of NaN for a class without importance, where the mode needs it.

    Of n = int(ratio * channels): `all` keeps every channel; `max` those whose Target is the class's largest; `top` the n with the
    largest Target; `freq` those with Target > ratio; `diff_top` the n with the largest |Diff|; `reverse_diff_top` the others; `index`
    the channels of `index`. Of equal ones the first are kept.

    Raises:
        DataError: if there is no such mode, an index or ratio is out of range, or no channel would be kept by `top` or `diff_top`.

    Example:
        >>> import numpy as np
        >>> target = np.array([[3.0, 1.0, 2.0, 0.0], [0.0, 0.0, 0.0, 4.0]])
        >>> found = Importance(target.mean(axis=0), target, np.array([1, 1]), count=2, left_out=0, wrong=0)
        >>> selection_masks(found, "top", ratio=0.5).astype(int).tolist()
        [[1, 0, 1, 0], [1, 0, 0, 1]]
        >>> selection_masks(found, "diff_top", ratio=0.5).astype(int).tolist()
        [[1, 0, 0, 1], [1, 0, 0, 1]]
    """
    if mode not in MODES:
        raise DataError(f"No selection '{mode}'{closest(mode, MODES)}; expected one of {', '.join(MODES)}.")
    target = importance.target
    classes, channels = target.shape
    if mode == "all":
        return np.ones((classes, channels))
    if mode == "index":
        return np.tile(_at(index, channels), (classes, 1))
    if mode in _RANKED:
        if not 0 <= ratio <= 1:
            raise DataError(f"Expected a ratio of channels between 0 and 1, got {ratio}.")
        count = int(ratio * channels + _ROUNDING)
        if not count and mode != "reverse_diff_top":
            raise DataError(f"A ratio of {ratio} of {channels} channels keeps none; try at least {1 / channels:.3g}.")
        masks = _largest(target if mode == "top" else np.abs(importance.difference), count)
        masks = 1 - masks if mode == "reverse_diff_top" else masks
    elif mode == "max":
        masks = (target == target.max(axis=1, keepdims=True)).astype(np.float64)
    else:
        masks = (target > ratio).astype(np.float64)
    return np.where(np.isnan(target), np.nan, masks)


def masks_of(masks: Float[np.ndarray, "k c"], classes: Sequence[int]) -> Float[np.ndarray, "n c"]:
    """Return the mask of each sample's class.

    Raises:
        DataError: if a class has no mask, because it has no importance.
    """
    chosen = masks[np.asarray(classes, dtype=np.int64)]
    empty = np.flatnonzero(np.isnan(chosen).any(axis=1))
    if len(empty):
        raise DataError(
            f"Class {classes[int(empty[0])]} has no importance, since no sample of it counts, so no channels can be chosen for it; "
            "leave its samples out, or count all samples."
        )
    return chosen


def _at(index: Sequence[int], channels: int) -> np.ndarray:
    wrong = [number for number in index if not -channels <= number < channels]
    if not index or wrong:
        got = f"got {wrong[0]}" if wrong else "got none"
        raise DataError(f"Expected channels from 0 to {channels - 1}, {got}; try index=[0].")
    mask = np.zeros(channels)
    mask[list(index)] = 1
    return mask


def _largest(values: Float[np.ndarray, "k c"], count: int) -> Float[np.ndarray, "k c"]:
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    masks = np.zeros_like(values)
    np.put_along_axis(masks, order, 1, axis=1)
    return masks
