"""What a data loader calls by name: how its workers are seeded, and how samples become a batch."""

import os
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from camtool.errors import ImageError
from camtool.registry import FUNCTIONS
from camtool.train.skip_broken import Broken

BROKEN = "broken"
"""The key of a batch under which the pictures stand that are missing from it."""


@FUNCTIONS.register_module()  # type: ignore[untyped-decorator]
def seed_worker(worker_id: int) -> None:
    """Seed a worker's generators anew each epoch: from what torch drew for it, and its process's rank.

    mmengine's own gives a worker the same seed every epoch: the same augmentations again and again.
    """
    seeds = np.random.SeedSequence([torch.initial_seed(), int(os.environ.get("RANK", "0"))]).generate_state(3)
    random.seed(int(seeds[0]))
    np.random.seed(int(seeds[1]))
    torch.manual_seed(int(seeds[2]))


@FUNCTIONS.register_module()  # type: ignore[untyped-decorator]
def collate_readable(samples: Sequence[Any], collate: str | Callable[..., Any] = "pseudo_collate", **settings: Any) -> Any:
    """Return `samples` as a batch, by the function that `collate` is or names; broken ones are left out, and stand under BROKEN.

    Without broken ones it is the very batch that `collate` makes; where all are broken, it holds nothing but BROKEN.

    Args:
        settings: what `collate` is called with beside the samples.

    Raises:
        ImageError: for a broken one, where `collate` gives no dict that could say so.
    """
    readable = [sample for sample in samples if not isinstance(sample, Broken)]
    broken = [sample for sample in samples if isinstance(sample, Broken)]
    function = FUNCTIONS.get(collate) if isinstance(collate, str) else collate
    batch = function(readable, **settings) if readable else {}
    if not broken:
        return batch
    if not isinstance(batch, dict):
        raise ImageError(f"Picture '{broken[0].path}' cannot be read: {broken[0].reason}.")
    return {**batch, BROKEN: broken}
