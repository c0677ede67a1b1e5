"""Which method is defined for signals, pictures and volumes, and networks that are one in several ranks.

`PYTHONPATH=. python -m tests.methods.ranks` writes the table into the README of the methods.
"""

import copy
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.attribution.result import CAMResult
from camtool.cli.markers import around_markers, markers, write_between
from camtool.errors import CamtoolError, CamtoolWarning
from tests.methods.attention.networks import plain_vit
from tests.methods.kinds import NAMES, OF_ATTENTION, OF_TOKENS
from tests.networks import CONV, GAP, NORM, RANKS, SIZES, images, small_net

README = Path(__file__).parents[2] / "camtool/methods/README.md"
MARKERS = markers("methods by rank")
CLASSES: dict[int, list[int] | None] = {1: None, 2: None, 3: [1, 3]}
"""By rank: those that the convolutional network has positive evidence for; None: the predicted ones."""


def network(name: str, rank: int) -> nn.Module:
    """Return the network of this rank that a method is tried on, in float64."""
    return plain_vit(rank, pooled=True) if name in (*OF_ATTENTION, *OF_TOKENS) else small_net(rank, double=True)


def explained(name: str, model: nn.Module, inputs: Tensor, classes: list[int] | None) -> CAMResult:
    """Return a method's result, of a convolutional network at its last block."""
    layer = "late" if hasattr(model, "late") else None
    reads_layer = layer is not None and name not in OF_ATTENTION
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CamtoolWarning)
        try:
            return CAM(model, layer if reads_layer else None, name)(inputs, classes)
        except CamtoolError as error:
            if "Target layers are given" not in str(error):
                raise
            return CAM(model, None, name)(inputs, classes)  # of the input alone


def lifted(model: nn.Module, rank: int) -> nn.Module:
    """Return the network with axes of size 1 put in front of the spatial ones: what it computes stays the same."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, part in module.named_children():
            base = next((known for known in RANKS if isinstance(part, (CONV[known], NORM[known], GAP[known]))), rank)
            if base == rank:
                continue
            if isinstance(part, CONV[base]):
                setattr(module, name, _lifted_convolution(part, rank - base, rank))
            elif isinstance(part, NORM[base]):
                norm = NORM[rank](part.num_features).to(part.weight.dtype).eval()
                norm.load_state_dict(part.state_dict())
                setattr(module, name, norm)
            else:
                setattr(module, name, GAP[rank](1))
    return model


def _lifted_convolution(part: nn.Module, more: int, rank: int) -> nn.Module:
    ones, zeros = (1,) * more, (0,) * more
    made = CONV[rank](
        part.in_channels,
        part.out_channels,
        (*ones, *part.kernel_size),
        stride=(*ones, *part.stride),
        padding=(*zeros, *part.padding),
    )
    weight = part.weight.detach()
    made.weight.data = weight.reshape(*weight.shape[:2], *ones, *weight.shape[2:]).clone()
    made.bias.data = part.bias.detach().clone()
    return made


def table() -> str:
    """Return the Markdown table of methods by number of spatial axes, each cell from a map that was made."""
    return "\n".join(["| method | 1-D | 2-D | 3-D |", "|---|---|---|---|", *map(row, NAMES)])


def row(name: str) -> str:
    """Return a method's row of the table."""
    return f"| `{name}` | {' | '.join(_cell(name, rank) for rank in RANKS)} |"


def _cell(name: str, rank: int) -> str:
    try:
        maps = explained(name, network(name, rank), images(rank, double=True), CLASSES[rank]).maps
    except CamtoolError as error:
        return str(error).split(";")[0].split(". ")[0]
    finite = maps.shape == (2, *SIZES[rank]) and bool(torch.isfinite(maps).all())
    return "yes" if finite and maps.amax() > 0 else "empty"


if __name__ == "__main__":
    write_between(README, around_markers(README, MARKERS), table())
