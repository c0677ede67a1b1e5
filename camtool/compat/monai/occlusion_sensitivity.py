"""OcclusionSensitivity with the arguments and results of monai.visualize."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from camtool.attribution.cam import CAM
from camtool.errors import DataError, MethodError
from camtool.targets import FromLogits

Activation = Callable[[Tensor], Tensor]
MODES = {"gaussian": "gaussian", "mean_patch": "mean_patch", "mean_img": "mean_image"}
"""camtool's baselines by MONAI's modes."""


class OcclusionSensitivity:
    """Probabilities of all classes when a part of the input is hidden, called as MONAI's, for any number of samples.

    Differs from MONAI 1.6: probabilities are a softmax where the network has several outputs, where MONAI asks for channels of the input;
    at the far borders what is left of a patch is hidden, where MONAI moves the patch back; `mean_patch` fills a patch with its mean.

    Args:
        nn_module: gives scores (n, classes).
        mask_size: of a hidden patch, a number for all axes or one for each.
        n_batch: changes nothing; as many copies at once as memory allows.
        verbose: changes nothing.
        mode: "gaussian", "mean_patch", "mean_img", or the value of hidden positions.
        overlap: of neighbouring patches, 0 <= overlap < 1.
        activate: True: softmax, of a single output sigmoid; False: the scores themselves; or a function of the scores (n, classes).

    Raises:
        CamtoolError: if the mode or overlap is none of these; when called, if the patch is larger than the input.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.compat.monai import OcclusionSensitivity
        >>> model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> maps, best = OcclusionSensitivity(nn_module=model, mask_size=4)(x=torch.rand(1, 2, 8, 8))
        >>> maps.shape, best.shape
        (torch.Size([1, 2, 8, 8]), torch.Size([1, 1, 8, 8]))
    """

    def __init__(
        self,
        nn_module: nn.Module,
        mask_size: int | Sequence[int] = 16,
        n_batch: int = 16,
        verbose: bool = True,
        mode: str | float | int = "gaussian",
        overlap: float = 0.6,
        activate: bool | Activation = True,
    ) -> None:
        if isinstance(mode, str) and mode not in MODES:
            raise MethodError(f"No mode '{mode}'; expected one of {', '.join(MODES)}, or a number.")
        if not 0 <= overlap < 1:
            raise MethodError(f"Expected an overlap from 0 to below 1, got {overlap}.")
        self.nn_module = nn_module
        self.mask_size = mask_size
        self.mode, self.overlap = mode, overlap
        self._activate: Activation = activate if callable(activate) else _probabilities if activate else _as_they_are

    def __call__(
        self, x: Float[Tensor, "n c *spatial"], b_box: Sequence[int] | None = None
    ) -> tuple[Float[Tensor, "n classes *box"], Int64[Tensor, "n one *box"]]:
        """Return the mean probability of each class over the patches that hide a position, and the class with the largest there.

        The lower the probability of a class, the more the position matters for it.

        Args:
            b_box: first and last index by axis, [min1, max1, min2, max2, …], of the part that is returned; negative: the border.

        Raises:
            CamtoolError: if a patch is larger than the input, the box is empty, or the network has no scores (n, classes).
        """
        sides = (self.mask_size,) * (x.ndim - 2) if isinstance(self.mask_size, int) else tuple(self.mask_size)
        baseline = MODES[self.mode] if isinstance(self.mode, str) else self.mode
        stride = [max(int(side * (1 - self.overlap)), 1) for side in sides]
        method = {"type": "occlusion", "patch": list(sides), "stride": stride, "baseline": baseline}
        kept = [slice(None)] * 2 + (_slices(b_box, x.shape[2:]) if b_box is not None else [])
        result = CAM(self.nn_module, None, method)(x, FromLogits(self._all_classes))
        assert isinstance(result.logits, Tensor)
        whole = self._activate(result.logits)  # of the input with nothing hidden
        falls = next(iter(result.raw.values()))
        maps = (whole.reshape(*whole.shape, *[1] * (x.ndim - 2)) - falls)[tuple(kept)]
        return maps, maps.argmax(dim=1, keepdim=True)

    def _all_classes(self, logits: Tensor) -> list[list["_Activated"]]:
        return [[_Activated(self._activate, index) for index in range(self._activate(logits).shape[1])]] * len(logits)


class _Activated:
    """One class of activated scores."""

    def __init__(self, activate: Activation, index: int) -> None:
        self._activate = activate
        self._place = index

    def __call__(self, scores: Tensor) -> Tensor:
        return self._activate(scores.unsqueeze(0))[0, self._place]


def _probabilities(scores: Tensor) -> Tensor:
    return scores.sigmoid() if scores.shape[1] == 1 else scores.softmax(dim=1)


def _as_they_are(scores: Tensor) -> Tensor:
    return scores


def _slices(b_box: Sequence[int], size: torch.Size) -> list[slice]:
    if len(b_box) != 2 * len(size):
        raise DataError(f"Expected a box of first and last index by axis, {2 * len(size)} numbers, got {len(b_box)}.")
    ranges = zip(b_box[::2], b_box[1::2], size, strict=True)
    slices = [slice(max(first, 0), length if last < 0 else min(last + 1, length)) for first, last, length in ranges]
    if any(side.start >= side.stop for side in slices):
        raise DataError(f"Expected a box with positions in it, got {list(b_box)} of an input of {tuple(size)}.")
    return slices
