"""CAM, the original: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", arXiv:1512.04150."""

from camtool.methods._base import BaseMethod, Evidence
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module(name=["CAM", "ClassActivationMapping"])
class ClassActivationMapping(BaseMethod):
    """Weights each channel by the final linear layer's weight for the class (eq. 2).

    Defined for global average pooling + one linear layer; mean of the raw map + bias = logit. The paper has no ReLU: `raw` is
    signed, as there.

    Example:
        >>> import torch
        >>> from camtool.methods import ClassActivationMapping, Evidence
        >>> evidence = Evidence(torch.tensor([[[1.0, 2.0], [3.0, 0.0]]]), None, class_weights=lambda: torch.tensor([[2.0, -1.0]]))
        >>> ClassActivationMapping().raw_map(evidence)
        tensor([[-1.,  4.]])
    """

    name = "cam"
    paper = "arXiv:1512.04150"
    cost = "1 forward"

    def contributions(self, evidence: Evidence) -> Maps:
        weights = evidence.class_weights()  # (n, c)
        spatial = evidence.activations.ndim - 2
        return weights.reshape(*weights.shape, *[1] * spatial) * evidence.activations
