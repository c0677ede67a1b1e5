"""Order of a sequence whose tokens are positions, but not row by row: as a bijection between tokens and cells."""

from collections.abc import Sequence

import torch
from torch import Tensor

from camtool.layouts.localisation import Responses


def measured_cells(responses: Responses, axis: int, grid: Sequence[int], tokens: Tensor | None = None) -> Tensor | None:
    """Return (*grid): the index of each cell's token, from responses to as many slabs as there are cells; None if it is no bijection.

    Along each spatial axis the tokens are ordered by where they look, and cut into as many groups as the grid has cells there.

    Args:
        tokens: indices of the tokens that are positions, in order; None: all.
    """
    tokens = torch.arange(responses.shape[axis], device="cpu") if tokens is None else tokens
    count = len(tokens)
    token_cells = torch.zeros(count, dtype=torch.long, device="cpu")
    for spatial, cells in enumerate(grid):
        groups = torch.zeros(count, dtype=torch.long, device="cpu")
        if cells > 1:
            answers = responses.own[axis][spatial][tokens]
            sharpened = (answers - answers.amin(dim=1, keepdim=True)) ** 2
            total = sharpened.sum(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
            centres = sharpened @ torch.arange(answers.shape[1], dtype=answers.dtype, device="cpu") / total
            groups[centres.argsort(stable=True)] = torch.arange(count, device="cpu") * cells // count
        token_cells = token_cells * cells + groups
    order = token_cells.argsort(stable=True)
    return tokens[order].reshape(tuple(grid)) if torch.equal(token_cells[order], torch.arange(count, device="cpu")) else None
