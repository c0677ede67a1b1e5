"""ShapleyCAM: Cai 2025, "CAMs as Shapley Value-based Explainers", arXiv:2501.06261."""

from camtool.errors import MethodError
from camtool.functional import spatial_mean
from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class ShapleyCAM(BaseMethod):
    """Weights each channel by the spatial mean of g - H A / 2, its Shapley value if the score is a quadratic polynomial.

    g is the gradient of the score and H its Hessian with respect to the activations A. Behind ReLUs, with a logit as target, H is 0 and
    the map equals Grad-CAM's. Differs from the paper's experiments: the score is the given target, not the paper's ReST utility.

    Example:
        >>> import torch
        >>> from camtool.methods import Evidence, ShapleyCAM
        >>> activations = torch.tensor([[[1.0, 3.0]]])
        >>> evidence = Evidence(activations, 2 * activations, lambda: None, curvature=2 * activations)  # score: sum of squares
        >>> ShapleyCAM().raw_map(evidence)
        tensor([[2., 6.]])
    """

    name = "shapleycam"
    paper = "arXiv:2501.06261"
    cost = "1 forward + 2 tail backwards"
    needs = Needs(gradients=True, curvature=True)

    def contributions(self, evidence: Evidence) -> Maps:
        if evidence.gradients is None or evidence.curvature is None:
            raise MethodError(f"Method '{self.name}' needs gradients and second derivatives, which are not available for other inputs.")
        return spatial_mean(evidence.gradients - evidence.curvature / 2) * evidence.activations
