"""SmoothGrad around a method: Smilkov et al. 2017, arXiv:1706.03825."""

import operator

import torch

from camtool.errors import MethodError
from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods._noise import Noise
from camtool.methods.wrapper._base import Wrapper
from camtool.registry import METHODS
from camtool.types import RawMap


@METHODS.register_module()
class Smooth(Wrapper):
    """Mean of another method's raw maps over noisy copies of the input, around Grad-CAM or, as in `smooth:layercam`, what is named.

    Differs from the paper in what is averaged: its maps are the gradients of the input itself.

    Args:
        method: what it goes around.
        samples: how many noisy copies; each costs a forward and a backward pass. (The paper has 50.)
        sigma: standard deviation of the noise as a share of each input's range. (The paper has 0.1 to 0.2.)
        seed: of the noise.

    Raises:
        MethodError: if there is no sample, sigma is negative, or the method cannot be asked about other inputs.
    """

    name = "smooth"
    paper = "arXiv:1706.03825"
    cost = "16 times the other method"
    needs = Needs(further_gradients=True)

    def __init__(self, *, method: BaseMethod | None = None, samples: int = 16, sigma: float = 0.15, seed: int = 0) -> None:
        super().__init__(method)
        self.samples = operator.index(samples)
        self.sigma = float(sigma)
        self.seed = operator.index(seed)
        self.noise()

    def noise(self) -> Noise:
        """Return the noise of these settings."""
        return Noise(self.name, samples=self.samples, sigma=self.sigma, seed=self.seed)

    def accepted(self, method: BaseMethod) -> BaseMethod:
        accepted = super().accepted(method)
        if accepted.needs.curvature or accepted.needs.replay:
            what = "second derivatives" if accepted.needs.curvature else "scores of other activations"
            raise MethodError(
                f"'smooth' cannot wrap '{method.name}': it needs {what}, which are not available for noisy copies of the input. Wrap a "
                "gradient method, such as 'gradcam'."
            )
        return accepted

    def needs_around(self, inner: Needs) -> Needs:
        return Needs(tokens=inner.tokens, further_gradients=inner.gradients or inner.further_gradients)

    def raw_map(self, evidence: Evidence) -> RawMap:
        return torch.stack([self.method.raw_map(one) for one in self._noisy(evidence)]).mean(dim=0)

    def eigen_smooth_map(self, evidence: Evidence) -> RawMap:
        return torch.stack([self.method.eigen_smooth_map(one) for one in self._noisy(evidence)]).mean(dim=0)

    def _noisy(self, evidence: Evidence) -> list[Evidence]:
        queries = evidence.queries(self.name)
        return queries.evidence_of(self.noise().copies(queries.inputs), gradients=self.method.needs.gradients)
