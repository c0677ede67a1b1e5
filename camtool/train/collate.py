"""Functions that data loaders call by name: seeding of workers, collating of samples."""

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
"""Key of a batch for the list of samples that were left out of it, as `Broken`."""


@FUNCTIONS.register_module()  # type: ignore[untyped-decorator]
def seed_worker(worker_id: int) -> None:
    """Seed the random generators of a worker from torch's seed for it, which differs by epoch, and the rank of its process.

    mmengine's function gives a worker the same seed in every epoch, so that augmentations repeat.
    """
    seeds = np.random.SeedSequence([torch.initial_seed(), int(os.environ.get("RANK", "0"))]).generate_state(3)
    random.seed(int(seeds[0]))
    np.random.seed(int(seeds[1]))
    torch.manual_seed(int(seeds[2]))


@FUNCTIONS.register_module()  # type: ignore[untyped-decorator]
def collate_readable(samples: Sequence[Any], collate: str | Callable[..., Any] = "pseudo_collate", **settings: Any) -> Any:
    """Return the readable samples as a batch; broken ones are listed under its key BROKEN.

    Without broken samples this is the batch of `collate`; if all are broken, it has the key BROKEN only.

    Args:
        collate: the function that makes the batch, or its name in mmengine's registry.
        settings: further arguments of `collate`.

    Raises:
        ImageError: if a sample is broken and the batch of `collate` is not a dict.
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
