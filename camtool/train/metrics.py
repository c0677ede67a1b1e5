"""Mean loss on the validation set, for ReduceOnPlateauLR."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from camtool.registry import METRICS


@METRICS.register_module()
class ValidationLoss(BaseMetric):  # type: ignore[misc]  # mmengine has no types
    """Metric `cross_entropy/mean`: mean over samples of the negative log probability of the true class.

    Computed from the probabilities of mmpretrain's heads, clamped to the smallest normal float32 (1e-38).
    """

    default_prefix = "cross_entropy"  # not "loss": mmengine logs the mean over ten validations of metrics with this name

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Add the loss of each sample of a batch."""
        for sample in data_samples:
            scores = sample["pred_score"].float()
            likelihood = scores[sample["gt_label"].to(scores.device)].clamp_min(torch.finfo(torch.float32).tiny)
            self.results.append(-likelihood.double().log().mean().item())

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Return the mean over all samples; NaN if there are none."""
        return {"mean": sum(results) / len(results) if results else math.nan}
