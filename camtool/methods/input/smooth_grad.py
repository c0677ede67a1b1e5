"""SmoothGrad: Smilkov et al. 2017, arXiv:1706.03825."""

import operator
from collections.abc import Sequence

import torch

from camtool.methods._base import Needs
from camtool.methods._noise import Noise
from camtool.methods.input._base import InputEvidence, InputMethod
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class SmoothGrad(InputMethod):
    """Averages the gradient at the input over noisy copies of the input; its largest absolute value over channels is the map.

    The mean gradient itself, signed and by channel, is `attributions`. (`smooth` averages the maps of another method likewise.)

    Args:
        samples: number of noisy copies, at least 1; each costs a forward and a backward pass. (The paper has 50.)
        sigma: standard deviation of the noise as a share of each input's range; 0 or more. (The paper has 0.1 to 0.2.)
        seed: seed of the noise.

    Raises:
        MethodError: if `samples` is below 1, or `sigma` is negative.

    Example:
        >>> from camtool.methods import build_method
        >>> method = build_method({"type": "SmoothGrad", "samples": 50})
        >>> method.name, method.samples, method.sigma
        ('smoothgrad', 50, 0.15)
    """

    name = "smoothgrad"
    paper = "arXiv:1706.03825"
    cost = "1 forward + 16 forwards and backwards"
    needs = Needs(further_gradients=True)

    def __init__(self, *, samples: int = 16, sigma: float = 0.15, seed: int = 0) -> None:
        self.samples = operator.index(samples)
        self.sigma = float(sigma)
        self.seed = operator.index(seed)
        self.noise()

    def noise(self) -> Noise:
        """Return the generator of noisy copies."""
        return Noise(self.name, samples=self.samples, sigma=self.sigma, seed=self.seed)

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return self.samples

    def attributions(self, evidence: InputEvidence) -> Maps:
        queries, total = evidence.queries(self.name), torch.zeros_like(evidence.inputs)
        for step, copy in enumerate(self.noise().copies(queries.inputs)):
            total = total + queries.score_and_gradients(copy)[1]
            queries.report(step + 1, self.samples)
        return total / self.samples
