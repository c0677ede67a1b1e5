"""SmoothGrad around a method: Smilkov et al. 2017, arXiv:1706.03825."""

import operator
from collections.abc import Sequence

import torch

from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods._noise import Noise
from camtool.methods.wrapper._base import Wrapper, refuse_other_inputs
from camtool.registry import METHODS
from camtool.types import RawMap


@METHODS.register_module()
class Smooth(Wrapper):
    """Averages another method's raw maps over noisy copies of the input (`smooth:layercam`; `smooth` alone wraps Grad-CAM).

    Differs from the paper, which averages the gradients with respect to the input.

    Args:
        method: the wrapped method; None: Grad-CAM.
        samples: number of noisy copies, at least 1; each costs a forward and a backward pass. (The paper has 50.)
        sigma: standard deviation of the noise as a share of each input's range; 0 or more. (The paper has 0.1 to 0.2.)
        seed: seed of the noise.

    Raises:
        MethodError: if `samples` is below 1, `sigma` is negative, or the wrapped method cannot be applied to other inputs.

    Example:
        >>> from camtool.methods import build_method
        >>> method = build_method({"type": "smooth", "method": "layercam", "samples": 50})
        >>> method.name, method.samples, method.sigma
        ('smooth:layercam', 50, 0.15)
    """

    name = "smooth"
    paper = "arXiv:1706.03825"
    cost = "16 times the wrapped method"
    needs = Needs(further_gradients=True)

    def __init__(self, *, method: BaseMethod | None = None, samples: int = 16, sigma: float = 0.15, seed: int = 0) -> None:
        super().__init__(method)
        self.samples = operator.index(samples)
        self.sigma = float(sigma)
        self.seed = operator.index(seed)
        self.noise()

    def noise(self) -> Noise:
        """Return the generator of noisy copies."""
        return Noise(self.name, samples=self.samples, sigma=self.sigma, seed=self.seed)

    def accepted(self, method: BaseMethod) -> BaseMethod:
        accepted = super().accepted(method)
        refuse_other_inputs(type(self).name, accepted, "noisy copies of the input")
        return accepted

    def needs_around(self, inner: Needs) -> Needs:
        return Needs(tokens=inner.tokens, further_gradients=inner.gradients or inner.further_gradients)

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return self.samples * (1 + self.method.further_passes(channels, cells, size))

    def raw_map(self, evidence: Evidence) -> RawMap:
        return torch.stack([self.method.raw_map(noisy) for noisy in self._noisy(evidence)]).mean(dim=0)

    def eigen_smooth_map(self, evidence: Evidence) -> RawMap:
        return torch.stack([self.method.eigen_smooth_map(noisy) for noisy in self._noisy(evidence)]).mean(dim=0)

    def _noisy(self, evidence: Evidence) -> list[Evidence]:
        queries = evidence.queries(self.name)
        return queries.evidence_of(self.noise().copies(queries.inputs), gradients=self.method.needs.gradients)
