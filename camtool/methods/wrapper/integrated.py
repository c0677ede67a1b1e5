"""Integrated gradients around a method: Sundararajan et al. 2017, arXiv:1703.01365; Sattarzadeh et al. 2021, arXiv:2102.07805."""

import operator
from collections.abc import Sequence
from dataclasses import replace

import torch

from camtool.errors import MethodError
from camtool.functional import to_float32
from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.wrapper._base import Wrapper, weighs_gradients
from camtool.registry import METHODS
from camtool.types import RawMap


@METHODS.register_module()
class Integrated(Wrapper):
    """Applies another method to gradients averaged along the line from a baseline input to the input (`integrated:layercam`).

    The average is over the midpoints of `steps` equal parts of the line (1703.01365 sums at their ends). If activations are linear in the
    input, the map of `integrated:hirescam` then sums to the score minus the baseline's. Integrated Grad-CAM integrates Grad-CAM's
    gradients likewise; which activations it uses along the line was not checked against its text: here they are the input's own.

    Args:
        method: the wrapped method, a function of activations and gradients; None: Grad-CAM.
        steps: number of points on the line, at least 1; each costs a forward and a backward pass.
        baseline: value of the baseline input at every position, after preprocessing; 0 is the mean colour if inputs are normalised.

    Raises:
        MethodError: if `steps` is below 1, or the method is not a function of activations and gradients alone.

    Example:
        >>> from camtool.methods import build_method
        >>> method = build_method({"type": "integrated", "method": "hirescam", "steps": 50})
        >>> method.name, method.steps, method.baseline
        ('integrated:hirescam', 50, 0.0)
    """

    name = "integrated"
    paper = "arXiv:2102.07805"
    cost = "20 forwards and tail backwards"
    needs = Needs(further_gradients=True)

    def __init__(self, *, method: BaseMethod | None = None, steps: int = 20, baseline: float = 0.0) -> None:
        super().__init__(method)
        self.steps = operator.index(steps)
        self.baseline = float(baseline)
        if self.steps < 1:
            raise MethodError(f"Method '{self.name}': expected at least one step, got {self.steps}.")

    def accepted(self, method: BaseMethod) -> BaseMethod:
        accepted = super().accepted(method)
        if not weighs_gradients(accepted):
            other_order = f"; try '{method.name.replace(':', ':integrated:', 1)}'" if ":" in method.name else ", such as 'gradcam'"
            raise MethodError(
                f"'integrated' cannot wrap '{method.name}': it averages gradients, and that method is not a function of activations and "
                f"gradients alone. Wrap a gradient method{other_order}."
            )
        return accepted

    def needs_around(self, inner: Needs) -> Needs:
        return Needs(tokens=inner.tokens, further_gradients=True)

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return self.steps + self.method.further_passes(channels, cells, size)

    def raw_map(self, evidence: Evidence) -> RawMap:
        return self.method.raw_map(self._integrated(evidence))

    def eigen_smooth_map(self, evidence: Evidence) -> RawMap:
        return self.method.eigen_smooth_map(self._integrated(evidence))

    def _integrated(self, evidence: Evidence) -> Evidence:
        queries = evidence.queries(self.name)
        path = to_float32(queries.inputs) - self.baseline
        points = [self.baseline + (step + 0.5) / self.steps * path for step in range(self.steps)]
        gradients = [
            evidence_of_point.gradients for evidence_of_point in queries.evidence_of(points) if evidence_of_point.gradients is not None
        ]
        return replace(evidence, gradients=torch.stack(gradients).mean(dim=0))
