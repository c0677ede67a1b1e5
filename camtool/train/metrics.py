"""The mean loss on the validation set: what ReduceOnPlateauLR monitors, and what mmpretrain's Accuracy does not give."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from camtool.registry import METRICS


@METRICS.register_module()
class ValidationLoss(BaseMetric):  # type: ignore[misc]  # mmengine has no types
    """`cross_entropy/mean`: the mean over samples of minus the logarithm of the true class's probability.

    Of probabilities, since mmpretrain's heads give these; below the smallest normal float32, 1e-38, they count as that.
    """

    default_prefix = "cross_entropy"  # not "loss": mmengine logs the mean over ten validations of whatever is called so

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Note the loss of each sample of a batch."""
        for sample in data_samples:
            scores = sample["pred_score"].float()
            likelihood = scores[sample["gt_label"].to(scores.device)].clamp_min(torch.finfo(torch.float32).tiny)
            self.results.append(-likelihood.double().log().mean().item())

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Return the mean over all samples; of none it is not a number, rather than a perfect 0."""
        return {"mean": sum(results) / len(results) if results else math.nan}
