"""Fit of a layer's places along one axis: how far its cells look beside an even division, from their answers to windows of noise."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

SHIFTS = 41
"""Shifts that are tried, from one cell before to one cell behind."""
WIDTHS = 12
"""Widths of the bell that are tried, from a third of a cell to twice the picture."""
CORRELATED = 1.5
"""Factor of the jackknife's spread: neighbouring cells see the same noise. The spread over pictures is 1.4 to 1.7 times the jackknife's."""
CERTAIN = 2.5
"""Spreads by which a shift must differ from none to be applied: chance does so for one in forty pairs of axes."""
ORDERED = 0.7
"""Correlation of the cells' centres with their order, below which they have no places."""


@dataclass(frozen=True)
class AxisFit:
    """Where the cells of a layer look along one axis."""

    shift: float
    """In cells, beside an even division; negative: to the first pixel."""
    spread: float
    """Standard deviation of the shift, in cells."""
    order: float
    """Correlation of the cells' centres with their order."""

    def why_not(self, spread: float) -> str:
        """Return why the even division is kept, in words; "" if the shift is to be applied.

        Args:
            spread: standard deviation of the shift that counts, in cells.
        """
        if not math.isfinite(self.shift) or not self.order >= ORDERED:
            return "the cells do not look at places in a row"
        if abs(self.shift) >= 1:
            return "the cells look more than a cell away from their places"
        if abs(self.shift) <= CERTAIN * spread:
            return f"the measured shift of {self.shift:+.2f} cells is within {CERTAIN} times its spread, {spread:.2f}"
        return ""


def windows(pixels: int, count: int) -> Float[Tensor, "count pixels"]:
    """Return the windows' shares of each pixel: overlapping triangles that sum to 1 at every pixel."""
    nodes, step = _nodes(pixels, count)
    return (1 - (torch.arange(pixels, dtype=torch.float64, device="cpu") - nodes.unsqueeze(1)).abs() / step).clamp(min=0)


def fit_axis(answers: Float[Tensor, "blocks count cells"], pixels: int) -> AxisFit:
    """Return where the cells look along an axis, given the energy of their answers to each window of noise.

    Noise times the square root of a window disturbs a pixel with the energy of the window's share of it, so that a cell's answers are
    the window's means over the pixels that it sees, whatever their number. What a cell sees is taken for a bell around its place, of
    one width for all cells and cut off at the picture's borders: its mean would lie too far inside. The quarter of the cells at either
    border, which sees padding, is left out.

    Args:
        answers: by blocks of cells and pictures, whose differences give the spread.
    """
    cells = answers.shape[2]
    skipped = cells // 4 if cells > 3 else 0
    inner = slice(skipped, cells - skipped)
    total = answers.sum(dim=0)
    if not total.isfinite().all() or not bool((total.sum(dim=0) > 0).all()):
        return AxisFit(math.nan, math.nan, math.nan)
    bells = _bells(pixels, len(total), cells)[..., inner]
    shift = _best(total[:, inner], bells)
    without = [_best((total - block)[:, inner], bells) for block in answers]
    deviations = torch.tensor(without, dtype=torch.float64, device="cpu")
    spread = ((deviations - deviations.mean()).square().sum() * (len(without) - 1) / len(without)).sqrt().item()
    nodes, _ = _nodes(pixels, len(total))
    centres = (total * nodes.unsqueeze(1)).sum(dim=0) / total.sum(dim=0)
    order = torch.corrcoef(torch.stack([centres, torch.arange(cells, dtype=torch.float64, device="cpu")]))[0, 1].item()
    return AxisFit(shift, CORRELATED * spread, order)


def _nodes(pixels: int, count: int) -> tuple[Float[Tensor, " count"], float]:
    """Return the tips of the windows, from border to border, and their distance."""
    return torch.linspace(-0.5, pixels - 0.5, count, dtype=torch.float64, device="cpu"), pixels / (count - 1)


def _best(energies: Float[Tensor, "count cells"], bells: Float[Tensor, "shifts widths count cells"]) -> float:
    """Return the shift, in cells, whose bells come closest to the energies; cells that answer more weigh more."""
    weights = energies.sum(dim=0)
    shares = energies / weights.clamp(min=torch.finfo(energies.dtype).tiny)
    misfit = ((bells - shares).square().sum(dim=2) * weights).sum(dim=2).amin(dim=1)  # by shift
    best = int(misfit.argmin())
    step = 2 / (SHIFTS - 1)
    if not 0 < best < SHIFTS - 1:
        return -1.0 if best == 0 else 1.0
    before, at, behind = misfit[best - 1 : best + 2].tolist()
    bend = before - 2 * at + behind
    return -1 + step * (best + (0.5 * (before - behind) / bend if bend > 0 else 0))


@lru_cache(maxsize=64)
def _bells(pixels: int, count: int, cells: int) -> Float[Tensor, "shifts widths count cells"]:
    """Return the answers of cells that see bells, cut off at the borders: by shift and width each window's share of a bell."""
    scale = pixels / cells
    shifts = torch.linspace(-1, 1, SHIFTS, dtype=torch.float64, device="cpu").view(-1, 1, 1, 1) * scale
    widths = torch.logspace(math.log10(0.3), math.log10(2 * cells), WIDTHS, dtype=torch.float64, device="cpu").view(1, -1, 1, 1) * scale
    places = torch.arange(cells, dtype=torch.float64, device="cpu") * scale + (scale - 1) / 2 + shifts
    nodes, step = _nodes(pixels, count)
    distances = (nodes.view(-1, 1) - places) / widths
    below = torch.special.ndtr(distances)  # the bell's share before each tip, and the integral of that
    integral = widths * (distances * below + torch.exp(-distances.square() / 2) / math.sqrt(2 * math.pi))
    mean_below = integral.diff(dim=2) / step
    rising, falling = below[:, :, 1:] - mean_below, mean_below - below[:, :, :-1]
    nothing = torch.zeros_like(below[:, :, :1])
    bells = torch.cat([nothing, rising], dim=2) + torch.cat([falling, nothing], dim=2)
    return bells / bells.sum(dim=2, keepdim=True).clamp(min=torch.finfo(bells.dtype).tiny)
