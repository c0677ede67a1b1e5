"""`--mask` and `--span`: a region of a segmentation, or frames of a signal, as the target."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from camtool.errors import TargetError


def with_region(
    target: str | None,
    mask: Path | None,
    categories: Sequence[str] | None,
    *,
    resample: bool,
    span: Sequence[str] | None = None,
    axes: str | None = None,
) -> dict[str, Any]:
    """Return the target and the categories of `read_selection`; where a mask is given, the region of it and of the one class that is named.

    Args:
        span: of a signal, the frames that are explained.
        axes: of the scores of frames.

    Raises:
        TargetError: if the options contradict each other, or not one class is named.
    """
    if span or axes:
        if not span:
            raise TargetError("--output-axes belongs to --span; expected both, or neither.")
        if mask is not None or resample:
            raise TargetError("--mask is a region of a picture or a volume, --span one of a signal; leave one of them out.")
        if target not in (None, "region"):
            raise TargetError(f"--span belongs to --target region, got --target {target}; leave one of them out.")
        return {"target": {"type": "region", "span": list(span), **({"axes": axes} if axes else {})}, "categories": categories or []}
    if mask is None:
        if resample:
            raise TargetError("--resample-mask belongs to --mask FILE; expected both, or neither.")
        return {"target": target, "categories": categories or []}
    if target not in (None, "region"):
        raise TargetError(f"--mask belongs to --target region, got --target {target}; leave one of them out.")
    if not categories or len(categories) != 1:
        raise TargetError("--mask explains one class of a segmentation in a region; name it, as --target-category 1, or by its name.")
    index = int(categories[0]) if categories[0].isdecimal() else categories[0]
    region = {"type": "region", "mask": os.path.expanduser(mask), "index": index}
    return {"target": {**region, **({"resample_mask": True} if resample else {})}, "categories": []}
