"""Objects whose place is known, and maps that fade from them to noise, in one to three dimensions."""

import numpy as np

SIZES = [(60,), (16, 20), (8, 9, 10)]


def objects(size: tuple[int, ...], count: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (masks (n, *size) of one block each, their boxes (n, 1, rank, 2))."""
    generator = np.random.default_rng(seed)
    masks, boxes = np.zeros((count, *size), bool), np.zeros((count, 1, len(size), 2), int)
    for mask, box in zip(masks, boxes, strict=True):
        for axis, side in enumerate(size):
            length = int(generator.integers(side // 4, side // 2))
            first = int(generator.integers(0, side - length + 1))
            box[0, axis] = first, first + length
        mask[tuple(slice(*span) for span in box[0])] = True
    return masks, boxes


def fading(masks: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    """Return maps that are the masks, but for a share of uniform noise."""
    return (1 - share) * masks + share * np.random.default_rng(seed).random(masks.shape)
