"""The similarity of a picture's embedding to that of a reference picture."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from camtool.errors import TargetError
from camtool.registry import TARGETS
from camtool.targets.output import Output, described

_MOST = 1 - 1e-6  # float32 rounds a similarity of 1 to within this


@TARGETS.register_module()
class EmbeddingSimilarity:
    """The cosine similarity of a network's output to a reference embedding, in [-1, 1].

    For networks whose output is the embedding, or is replaced by it with `camtool.instrumentation.embedding.EmbeddingOutput`.

    Args:
        reference: (c), a tensor, an array or a list: the embedding of the reference picture.

    Raises:
        TargetError: if the reference is zero, NaN or not a vector; when used, if the output is not (n, c), or has the direction of the
            reference: the similarity is greatest there and has no gradient.

    Example:
        >>> import torch
        >>> from camtool.targets import EmbeddingSimilarity
        >>> EmbeddingSimilarity([0.0, 2.0])(torch.tensor([3.0, 4.0]))
        tensor(0.8000)
    """

    name = "similarity"

    def __init__(self, reference: Any) -> None:
        if not isinstance(reference, Tensor):
            reference = torch.as_tensor(reference, dtype=torch.float32, device="cpu")
        if reference.ndim != 1:
            raise TargetError(f"Expected a reference embedding of one vector (c), got shape {tuple(reference.shape)}.")
        if not reference.isfinite().all() or not reference.any():
            raise TargetError(
                "The reference embedding is zero or not finite; similarity to it is not defined. Try another reference picture."
            )
        self.reference = reference.detach()

    def __call__(self, embedding: Float[Tensor, " c"]) -> Float[Tensor, ""]:
        """Return the cosine similarity of one sample's embedding."""
        return F.cosine_similarity(embedding, self.reference.to(embedding), dim=0)

    def fitted(self, output: Output, sample: int) -> "EmbeddingSimilarity":
        """Return the target; TargetError if this sample's output has another shape, or is the reference itself."""
        if not isinstance(output, Tensor) or output.shape[1:] != self.reference.shape:
            raise TargetError(f"The reference embedding has {len(self.reference)} numbers, the network's output is {described(output)}.")
        if self(output[sample].detach().double()) > _MOST:
            raise TargetError(
                "The picture's embedding is the reference's own: nothing can raise the similarity. Try another reference picture."
            )
        return self

    def __repr__(self) -> str:
        return f"EmbeddingSimilarity(to {len(self.reference)} numbers)"
