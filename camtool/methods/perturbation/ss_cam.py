"""SS-CAM: Wang et al. 2020, "SS-CAM: Smoothed Score-CAM for Sharper Visual Feature Localization", arXiv:2006.14255."""

import operator
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.perturbation._masks import scores_through, softmax_of_living, weighted
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class SSCAM(BaseMethod):
    """Weights each channel by the softmax over channels of the mean score of the input masked by noisy copies of the channel.

    Of the paper's two variants it is the first, noise on the feature map; the second adds it to the masked picture. The noise is drawn
    at the input's size, once for all channels and samples, so that channels do not differ by chance.

    Differs from the paper and torchcam: the noisy mask is clipped to [0, 1]. A noise of 2 on a mask of [0, 1] would multiply pixels
    by -7 to 8 instead of hiding them.

    Args:
        samples: noisy masks per channel, at least 1, and forward passes per channel.
        sigma: standard deviation of the noise in units of the mask, whose range is 1; 0 or more.
        seed: seed of the noise, which is drawn on the CPU and so is the same on every device.

    Raises:
        ValueError: if a setting is out of its range.

    Example:
        >>> from camtool.methods import build_method
        >>> method = build_method({"type": "sscam", "samples": 8, "sigma": 0.5})
        >>> method.samples, method.sigma
        (8, 0.5)
    """

    name = "sscam"
    paper = "arXiv:2006.14255"
    cost = "35 C forwards"
    needs = Needs(same_queries_for_all_targets=True)

    def __init__(self, *, samples: int = 35, sigma: float = 2.0, seed: int = 0) -> None:
        self.samples = operator.index(samples)
        self.sigma = float(sigma)
        self.seed = operator.index(seed)
        if self.samples < 1 or not self.sigma >= 0:
            raise ValueError(f"expected samples of at least 1 and sigma of at least 0, got {samples} and {sigma}")

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return self.samples * channels

    def contributions(self, evidence: Evidence) -> Maps:
        activations, queries = evidence.activations, evidence.queries(self.name)
        generator = torch.Generator(device="cpu").manual_seed(self.seed)
        drawn = torch.randn(self.samples, *queries.inputs.shape[2:], generator=generator, dtype=torch.float64, device="cpu")
        noise = (self.sigma * drawn).to(activations.device, activations.dtype)

        def noisy(masks: Tensor, sample: Int[Tensor, " copies"]) -> Tensor:
            return (masks + noise[sample]).clamp(0, 1)

        scores = scores_through(evidence, self.name, self.samples, noisy).mean(dim=2)
        return weighted(softmax_of_living(scores, activations), activations)
