"""SESS: Tursun et al. 2022, "SESS: Saliency Enhancing with Scaling and Sliding", ECCV 2022, arXiv:2207.01769."""

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.functional import min_max, positive_part, resize, to_float32
from camtool.fusion import shown
from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.perturbation.group_cam import blur
from camtool.methods.wrapper._base import Wrapper, refuse_other_inputs
from camtool.registry import METHODS
from camtool.targets import ClassProbability, ClassScore, Target
from camtool.types import RawMap

KERNEL = 11  # the authors' code
"""Width in pixels of the Gaussian that smooths the fused map."""

ROUNDING = 1e-6
"""Values of [0, 1] up to this one may be zeros that were resized, and count as such."""


@dataclass(frozen=True)
class Window:
    """A window of the input's own size in the enlarged input."""

    scaled: tuple[int, ...]
    """Size of the enlarged input."""
    starts: tuple[int, ...]
    """First pixel of the window in it, by axis."""

    def of(self, enlarged: Float[Tensor, "n channels *scaled"], size: Sequence[int]) -> Float[Tensor, "n channels *size"]:
        """Return this window's part of the enlarged input."""
        sides = tuple(slice(start, start + length) for start, length in zip(self.starts, size, strict=True))
        return enlarged[(slice(None), slice(None), *sides)]

    def put_back(self, maps: RawMap) -> RawMap:
        """Return maps of the window as they lie on the input, zero outside of it."""
        size = maps.shape[1:]
        sides = zip(self.starts, self.scaled, size, strict=True)
        around = [pad for start, whole, length in sides for pad in (whole - start - length, start)]
        return resize(F.pad(maps, around[::-1]), size)


@METHODS.register_module()
class SESS(Wrapper):
    """Fuses another method's maps of windows that slide over enlargements of the input (`sess:layercam`; `sess` alone wraps Grad-CAM).

    Each window, of the input's own size, has a map scaled to [0, 1], times the class's probability in the window over the highest
    of all windows; put back to its place on the input. At each position the mean is taken over the windows with a value
    above `theta` there, and smoothed by a Gaussian of 11 pixels. The raw map has the input's size and no negative values.

    Checked against the authors' code (there 12 scales, 224 + 64 i for a window of 224), not against the paper's text. Differs from
    it: windows have the input's own size, of any number of axes, and are spread evenly where the authors' last ones are moved back to the
    border, so that a mirrored input has the mirrored map; for a target that is not a class's logit they count by the positive part
    of its score.

    Args:
        method: the wrapped method; None: Grad-CAM.
        scales: number of enlargements, the input as it is among them.
        growth: by how much of the input's size each is larger than the one before.
        stride: largest distance between windows as a share of the window, above 0 and at most 1.
        pre_filter: share of the windows, those with the lowest probabilities, that is left out before maps are computed; from 0 to
            below 1. (The authors' figures have up to 0.99.)
        theta: values of a window's map up to this one do not take part in the mean.
        sigma: standard deviation in pixels of the smoothing; 0: none.

    Raises:
        MethodError: if a setting is out of its range, or the wrapped method cannot be applied to other inputs.

    Example:
        >>> from camtool.methods import build_method
        >>> method = build_method({"type": "sess", "method": "layercam", "scales": 3})
        >>> method.name, [window.scaled for window in method.windows((224,))], [window.starts for window in method.windows((224,))]
        ('sess:layercam', [(224,), (288,), (288,), (352,), (352,)], [(0,), (0,), (64,), (0,), (128,)])
    """

    name = "sess"
    paper = "arXiv:2207.01769"
    cost = "31 times the wrapped method for a picture: its windows of 6 scales"
    needs = Needs(further_gradients=True)
    covers_input = True

    def __init__(
        self,
        *,
        method: BaseMethod | None = None,
        scales: int = 6,
        growth: float = 2 / 7,
        stride: float = 1.0,
        pre_filter: float = 0.0,
        theta: float = 0.0,
        sigma: float = 5.0,
    ) -> None:
        super().__init__(method)
        self.class_discriminative = True  # by the windows' probabilities, whatever the wrapped method is
        self.covers_input = True
        self.scales = operator.index(scales)
        self.growth, self.stride, self.pre_filter = float(growth), float(stride), float(pre_filter)
        self.theta, self.sigma = float(theta), float(sigma)
        for name, fits, expected in (
            ("scales", self.scales >= 1, "at least 1"),
            ("growth", self.growth > 0, "a number above 0"),
            ("stride", 0 < self.stride <= 1, "a number above 0 and at most 1"),
            ("pre_filter", 0 <= self.pre_filter < 1, "a number from 0 to below 1"),
            ("theta", 0 <= self.theta < 1, "a number from 0 to below 1"),
            ("sigma", self.sigma >= 0, "0 or more"),
        ):
            if not fits:
                raise MethodError(f"Method '{self.name}': expected as '{name}' {expected}, got {getattr(self, name)}.")

    def accepted(self, method: BaseMethod) -> BaseMethod:
        accepted = super().accepted(method)
        refuse_other_inputs(type(self).name, accepted, "windows of the input")
        return accepted

    def needs_around(self, inner: Needs) -> Needs:
        return Needs(tokens=inner.tokens, further_gradients=inner.gradients or inner.further_gradients)

    def windows(self, size: Sequence[int]) -> list[Window]:
        """Return the windows over an input of this spatial size, scale by scale."""
        windows = []
        for number in range(self.scales):
            along = [_starts(length, self.growth * number, self.stride) for length in size]
            scaled = tuple(starts[-1] + length for starts, length in zip(along, size, strict=True))
            windows += [Window(scaled, corner) for corner in itertools.product(*along)]
        return windows

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        count = len(self.windows(size))
        kept = count - int(count * self.pre_filter)
        return (count if self.pre_filter else 0) + kept * (1 + self.method.further_passes(channels, cells, size))

    def raw_map(self, evidence: Evidence) -> RawMap:
        return self._fused(evidence, self.method.raw_map)

    def eigen_smooth_map(self, evidence: Evidence) -> RawMap:
        return self._fused(evidence, self.method.eigen_smooth_map)

    def _fused(self, evidence: Evidence, map_of: Callable[[Evidence], RawMap]) -> RawMap:
        queries, gradients = evidence.queries(self.name), self.method.needs.gradients
        inputs = queries.inputs
        size = inputs.shape[2:]
        windows = self.windows(size)
        crops = [window.of(enlarged, size) for enlarged, window in _enlarged(inputs, windows)]
        found = queries.evidence_of(crops, gradients=gradients and not self.pre_filter)
        shares = torch.stack([of_window.queries(self.name).scores_as(_probability) for of_window in found], dim=1).clamp(min=0)
        shares = shares / shares.amax(dim=1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)  # (n, windows)
        kept = [list(range(len(windows)))] * len(inputs)
        if self.pre_filter:
            kept = shares.argsort(dim=1, stable=True)[:, int(len(windows) * self.pre_filter) :].tolist()
            chosen = [torch.stack([crops[index][sample] for sample, index in enumerate(row)]) for row in zip(*kept, strict=True)]
            found = queries.evidence_of(chosen, gradients=gradients)
        total = evidence.activations.new_zeros(len(inputs), *size)
        count = torch.zeros_like(total)
        for place, of_window in enumerate(found):
            placement = None if self.method.covers_input else of_window.placement
            maps = min_max(shown(positive_part(map_of(of_window)), size, placement))
            for sample, row in enumerate(kept):
                share = shares[sample, row[place]].to(maps)
                layer = share * windows[row[place]].put_back(maps[sample : sample + 1])[0]
                counts = layer > max(self.theta, ROUNDING)
                total[sample] += layer.where(counts, 0)
                count[sample] += counts
        mean = total / count.clamp(min=1)
        return blur(mean.unsqueeze(1), KERNEL, self.sigma).squeeze(1) if self.sigma else mean


def _starts(length: int, growth: float, stride: float) -> list[int]:
    """Return the starts of windows of `length` pixels over an axis that is enlarged by about `growth`, evenly from border to border.

    An axis of a single position, which has nothing to enlarge, stays: a signal is a picture of height 1.
    """
    further = round(length * growth) if length > 1 else 0
    parts = math.ceil(further / max(round(stride * length), 1))
    gap = round(further / parts) if parts else 0  # whole pixels, alike from both sides
    return [gap * part for part in range(parts + 1)]


def _enlarged(inputs: Float[Tensor, "n channels *size"], windows: Sequence[Window]) -> list[tuple[Tensor, Window]]:
    """Return each window with the enlarged input that it lies in; one of the input's size is the input itself."""
    pairs = []
    for scaled, group in itertools.groupby(windows, key=lambda window: window.scaled):
        large = resize(to_float32(inputs).flatten(0, 1), scaled).unflatten(0, inputs.shape[:2]).to(inputs.dtype)
        pairs += [(inputs if scaled == tuple(inputs.shape[2:]) else large, window) for window in group]
    return pairs


def _probability(target: Target) -> Target:
    return ClassProbability(target.index) if isinstance(target, ClassScore) else target
