"""Connected parts of a map above every threshold at once: its component tree, without a cut at each threshold."""

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Components:
    """Connected parts of the positions at or above a level, one a row, and for which levels it is the same part."""

    lowest: np.ndarray
    """First level for which a part stands, (parts,)."""
    highest: np.ndarray
    """Last level for which it does, (parts,)."""
    count: np.ndarray
    """Number of its positions, (parts,)."""
    first: np.ndarray
    """Number of its first position in the array's order, (parts,)."""
    box: np.ndarray
    """(first, last + 1) along each axis, (parts, rank, 2)."""


def components(levels: np.ndarray) -> Components:
    """Return the connected parts of `levels >= t` for every t from 0 to the highest level.

    Positions that touch, be it at a corner, are connected. Each position is led uphill to a peak; what lies above any level on the way to
    one peak is connected, so that only the few peaks have to be merged, from the highest pass between two of them down to the lowest.

    Args:
        levels: whole numbers of 0 or more, (*spatial).
    """
    peaks, basin = _basins(levels)
    tree = _Tree.of(levels, peaks, basin)
    depth = int(levels.max()) + 1
    node = tree.containing(basin, levels.ravel())
    corner = np.indices(levels.shape).reshape(levels.ndim, -1).T
    # Least number and corners, the upper corner negated: all of them minima.
    least = np.concatenate([np.arange(levels.size)[:, None], corner, -corner], axis=1)
    formed, count_below, least_below = tree.inherited(node, least)
    nodes = np.concatenate([node, formed])
    heights = np.concatenate([levels.ravel(), tree.birth[formed]])
    order = np.argsort(nodes * depth + depth - 1 - heights)
    nodes, heights = nodes[order], heights[order]
    counts = np.concatenate([np.ones(len(node), np.int64), count_below])[order].cumsum()
    least = np.concatenate([least, least_below])[order]
    starts = np.flatnonzero(np.diff(nodes, prepend=-1))
    segment = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(nodes)))
    before = np.concatenate([[0], counts[starts[1:] - 1]])
    counts -= before[segment]
    apart = (segment * 2 * (levels.size + 1))[:, None]  # more than values differ: each segment has minima of its own
    least = np.minimum.accumulate(least - apart) + apart
    last = np.flatnonzero(np.append((np.diff(nodes) != 0) | (np.diff(heights) != 0), True))
    nodes, heights, counts, least = nodes[last], heights[last], counts[last], least[last]
    lowest = np.append(heights[1:] + 1, 0)
    ends = np.append(np.diff(nodes) != 0, True)  # of a node's last part: it stands until the node is merged
    lowest[ends] = tree.death[nodes[ends]] + 1
    stands = lowest <= heights
    low, high = least[stands, 1 : 1 + levels.ndim], 1 - least[stands, 1 + levels.ndim :]
    return Components(lowest[stands], heights[stands], counts[stands], least[stands, 0], np.stack([low, high], axis=2))


@dataclass(frozen=True)
class _Tree:
    """Peaks, and what they become when they are merged: nodes with a number higher than those of their parts."""

    birth: np.ndarray
    """Highest level of a node, (nodes,)."""
    parent: np.ndarray
    """Node that it becomes a part of, (nodes,); the last node is its own."""
    parts: np.ndarray
    """The two parts of each node that is no peak, (nodes - peaks, 2)."""

    @classmethod
    def of(cls, levels: np.ndarray, peaks: np.ndarray, basin: np.ndarray) -> "_Tree":
        birth = levels.ravel()[peaks].tolist()
        count = len(birth)
        parent = list(range(2 * count - 1))
        above = list(range(2 * count - 1))  # the same, with short cuts

        def top(node: int) -> int:
            while above[node] != node:
                above[node] = above[above[node]]
                node = above[node]
            return node

        parts: list[tuple[int, int]] = []
        for level, one, other in _passes(levels, basin.reshape(levels.shape), count):
            pair = top(one), top(other)
            if pair[0] != pair[1]:
                new = count + len(parts)
                for part in pair:
                    parent[part] = above[part] = new
                parts.append(pair)
                birth.append(level)
        return cls(np.array(birth, np.int64), np.array(parent), np.array(parts, np.int64).reshape(-1, 2))

    @property
    def death(self) -> np.ndarray:
        """Highest level at which a node is part of another; -1 of the last one."""
        death = self.birth[self.parent]
        death[-1] = -1
        return death

    def containing(self, node: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """Return for positions of these peaks the node that they are part of at their own level."""
        ancestors = [self.parent]
        while (ancestors[-1] != len(self.parent) - 1).any():
            ancestors.append(ancestors[-1][ancestors[-1]])
        for jump in reversed(ancestors):
            farther = jump[node]
            node = np.where(self.birth[farther] >= levels, farther, node)
        return node

    def inherited(self, node: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (nodes that are no peaks, number of positions of their parts, least values of these)."""
        counts = np.bincount(node, minlength=len(self.birth))
        lowest = np.full((len(self.birth), least.shape[1]), least.max() + 1)
        order = np.argsort(node, kind="stable")
        own, starts = np.unique(node[order], return_index=True)
        lowest[own] = np.minimum.reduceat(least[order], starts)
        formed = np.arange(len(self.birth) - len(self.parts), len(self.birth))
        below, least_below = np.zeros(len(formed), np.int64), np.zeros((len(formed), least.shape[1]), np.int64)
        for place, (new, (one, other)) in enumerate(zip(formed.tolist(), self.parts.tolist(), strict=True)):
            below[place] = counts[one] + counts[other]
            least_below[place] = np.minimum(lowest[one], lowest[other])
            counts[new] += below[place]
            lowest[new] = np.minimum(lowest[new], least_below[place])
        return formed, below, least_below


def _basins(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (number of each peak's position, peak of each position), where the higher number decides between equal levels."""
    numbers = np.arange(levels.size).reshape(levels.shape)
    highest = levels.astype(np.int64) * levels.size + numbers
    for axis in range(levels.ndim):
        along = np.moveaxis(highest, axis, 0)
        wider = along.copy()
        np.maximum(wider[1:], along[:-1], out=wider[1:])
        np.maximum(wider[:-1], along[1:], out=wider[:-1])
        highest = np.moveaxis(wider, 0, axis)
    uphill = (highest % levels.size).ravel()
    while True:
        farther = uphill[uphill]
        if (farther == uphill).all():
            break
        uphill = farther
    is_peak = uphill == numbers.ravel()
    return np.flatnonzero(is_peak), (is_peak.cumsum() - 1)[uphill]


def _passes(levels: np.ndarray, basin: np.ndarray, count: int) -> list[tuple[int, int, int]]:
    """Return (level, peak, peak) of the highest pass between each two basins that touch, the highest first."""
    depth = int(levels.max()) + 1
    found = []
    for steps in itertools.product((-1, 0, 1), repeat=levels.ndim):
        if steps <= (0,) * levels.ndim:  # each pair once
            continue
        here = tuple(slice(max(-step, 0), -step if step > 0 else None) for step in steps)
        there = tuple(slice(max(step, 0), step if step < 0 else None) for step in steps)
        one, other = basin[here], basin[there]
        border = one != other
        one, other = one[border].astype(np.int64), other[border].astype(np.int64)
        height = np.minimum(levels[here][border], levels[there][border])
        found.append((np.minimum(one, other) * count + np.maximum(one, other)) * depth + height)
    codes = np.sort(np.concatenate(found))
    codes = codes[np.append(np.diff(codes // depth) != 0, True)] if len(codes) else codes
    pairs, heights = codes // depth, codes % depth
    order = np.argsort(-heights, kind="stable")
    return list(zip(heights[order].tolist(), (pairs // count)[order].tolist(), (pairs % count)[order].tolist(), strict=True))
