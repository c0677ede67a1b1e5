"""Integrated gradients: Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", arXiv:1703.01365."""

import operator
from collections.abc import Sequence

import torch

from camtool.errors import MethodError
from camtool.functional import to_float32
from camtool.methods._base import Needs
from camtool.methods.input._base import InputEvidence, InputMethod
from camtool.registry import METHODS
from camtool.types import Maps, RawMap


@METHODS.register_module()
class IntegratedGradients(InputMethod):
    """Multiplies the input's difference from a baseline by the gradient averaged along the line between them, summed over channels.

    The average is over the midpoints of `steps` equal parts of the line (eq. 3 sums at their ends, which is further from the integral).
    The raw map is signed, and sums to the score minus the baseline's but for the error of the steps. By channel it is `attributions`.

    Args:
        steps: number of points on the line, at least 1; each costs a forward and a backward pass. (The paper has 20 to 300.)
        baseline: value of the baseline input at every position, after preprocessing; 0 is the mean colour if inputs are normalised.

    Raises:
        MethodError: if `steps` is below 1.

    Example:
        >>> from camtool.methods import build_method
        >>> method = build_method({"type": "integrated-gradients", "steps": 100})
        >>> method.name, method.steps, method.baseline
        ('integratedgradients', 100, 0.0)
    """

    name = "integratedgradients"
    paper = "arXiv:1703.01365"
    cost = "1 forward + 50 forwards and backwards"
    needs = Needs(further_gradients=True)

    def __init__(self, *, steps: int = 50, baseline: float = 0.0) -> None:
        self.steps = operator.index(steps)
        self.baseline = float(baseline)
        if self.steps < 1:
            raise MethodError(f"Method '{self.name}': expected at least one step, got {self.steps}.")

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return self.steps

    def attributions(self, evidence: InputEvidence) -> Maps:
        queries = evidence.queries(self.name)
        path = to_float32(queries.inputs) - self.baseline
        total = torch.zeros_like(path)
        for step in range(self.steps):
            total = total + queries.score_and_gradients(self.baseline + (step + 0.5) / self.steps * path)[1]
            queries.report(step + 1, self.steps)
        return path * total / self.steps

    def reduced(self, attributions: Maps) -> RawMap:
        return attributions.sum(dim=1)
