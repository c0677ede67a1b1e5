"""mmengine's loops over the epochs, with broken pictures left out of the batches."""

from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.runner import EpochBasedTrainLoop
from mmengine.runner import ValLoop as _ValLoop

from camtool.registry import LOOPS
from camtool.train.collate import BROKEN


@LOOPS.register_module()
class TrainLoop(EpochBasedTrainLoop):  # type: ignore[misc]  # mmengine has no types
    """Trains epoch by epoch; a batch of which no picture can be read is passed over, on every process at once."""

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on one batch."""
        if _on_every_process(_readable(self.runner, data_batch, "train")):
            super().run_iter(idx, data_batch)
        else:
            self.runner.call_hook("on_batch_passed_over", batch_idx=idx)
            self._iter += 1


@LOOPS.register_module()
class ValLoop(_ValLoop):  # type: ignore[misc]  # mmengine has no types
    """Validates; the metrics are those of the pictures that can be read."""

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Validate one batch."""
        if _readable(self.runner, data_batch, "val"):
            super().run_iter(idx, data_batch)


def _readable(runner: Any, batch: Any, split: str) -> bool:
    """Return whether anything is left of `batch`; what is broken is taken out of it and told to the hooks."""
    broken = batch.pop(BROKEN, None) if isinstance(batch, dict) else None
    if broken is None:
        return True
    runner.call_hook("on_broken_pictures", broken=broken, left=bool(batch), split=split)
    return bool(batch)


def _on_every_process(readable: bool) -> bool:
    # A process that passes its batch over alone would leave the others waiting for its gradients.
    agreed = torch.tensor(int(readable))
    all_reduce(agreed, "min")
    return bool(agreed)
