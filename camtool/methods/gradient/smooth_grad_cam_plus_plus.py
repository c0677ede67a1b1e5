"""Smooth Grad-CAM++: Omeiza et al. 2019, arXiv:1908.01224."""

import operator
from collections.abc import Sequence

import torch

from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods._noise import Noise
from camtool.methods.gradient.grad_cam_plus_plus import checked_epsilon, plus_plus_weights
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module(name=["SmoothGradCAMPlusPlus", "SmoothGradCAMpp"])
class SmoothGradCAMPlusPlus(BaseMethod):
    """Weights each channel as Grad-CAM++ does, with derivatives averaged over noisy copies of the input.

    The derivatives of first to third order are averaged; as in Grad-CAM++ the higher ones are powers of the first. The activations are
    those of the input without noise. Differs from torchcam, whose weights and map use the gradient and the activations of the last
    noisy copy alone.

    Args:
        samples: number of noisy copies, at least 1; each costs a forward and a backward pass.
        sigma: standard deviation of the noise as a share of each input's range.
        seed: seed of the noise.
        epsilon: what is added to a coefficient's denominator, as of `GradCAMPlusPlus`.

    Raises:
        MethodError: if `samples` is below 1, or `sigma` or `epsilon` is negative.

    Example:
        >>> from camtool.methods import build_method
        >>> method = build_method({"type": "smoothgradcam++", "samples": 8})
        >>> method.samples, method.sigma
        (8, 0.3)
    """

    name = "smoothgradcam++"
    paper = "arXiv:1908.01224"
    cost = "5 forwards + 4 tail backwards"
    needs = Needs(further_gradients=True)

    def __init__(self, *, samples: int = 4, sigma: float = 0.3, seed: int = 0, epsilon: float | None = None) -> None:
        self.samples = operator.index(samples)
        self.sigma = float(sigma)
        self.seed = operator.index(seed)
        self.epsilon = checked_epsilon(self.name, epsilon)
        self.noise()

    def noise(self) -> Noise:
        """Return the generator of noisy copies."""
        return Noise(self.name, samples=self.samples, sigma=self.sigma, seed=self.seed)

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return self.samples

    def contributions(self, evidence: Evidence) -> Maps:
        queries = evidence.queries(self.name)
        noisy_evidence = queries.evidence_of(self.noise().copies(queries.inputs))
        gradients = torch.stack(
            [evidence_of_copy.gradients for evidence_of_copy in noisy_evidence if evidence_of_copy.gradients is not None]
        )
        return plus_plus_weights(self.name, evidence.activations, gradients, self.epsilon) * evidence.activations
