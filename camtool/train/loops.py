"""mmengine's training and validation loops, for batches from which broken images are left out."""

from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.runner import EpochBasedTrainLoop
from mmengine.runner import ValLoop as _ValLoop

from camtool.registry import LOOPS
from camtool.train.collate import BROKEN


@LOOPS.register_module()
class TrainLoop(EpochBasedTrainLoop):  # type: ignore[misc]  # mmengine has no types
    """Training loop by epochs; a batch without any readable image is skipped, on all processes at once."""

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on a batch, or skip it."""
        if _on_every_process(_readable(self.runner, data_batch, "train")):
            super().run_iter(idx, data_batch)
        else:
            self.runner.call_hook("on_batch_passed_over", batch_idx=idx)
            self._iter += 1


@LOOPS.register_module()
class ValLoop(_ValLoop):  # type: ignore[misc]  # mmengine has no types
    """Validation loop; metrics are computed on the readable images."""

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Validate on a batch, or skip it."""
        if _readable(self.runner, data_batch, "val"):
            super().run_iter(idx, data_batch)


def _readable(runner: Any, batch: Any, split: str) -> bool:
    """Return whether `batch` has readable samples; its broken ones are removed and reported to the hooks."""
    broken = batch.pop(BROKEN, None) if isinstance(batch, dict) else None
    if broken is None:
        return True
    runner.call_hook("on_broken_pictures", broken=broken, left=bool(batch), split=split)
    return bool(batch)


def _on_every_process(readable: bool) -> bool:
    # If only one process skipped its batch, the others would wait for its gradients.
    all_readable = torch.tensor(int(readable))
    all_reduce(all_readable, "min")
    return bool(all_readable)
