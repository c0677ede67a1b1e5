"""A picture of known colours that no flip, turn or swap of channels leaves as it is."""

import numpy as np

RED, GREEN, BLUE, GREY = (220, 30, 40), (20, 180, 60), (30, 60, 200), (140, 140, 140)


def scene() -> np.ndarray:
    """Return uint8 (64, 96, 3) in RGB; its quadrants end where JPEG's blocks end."""
    picture = np.empty((64, 96, 3), dtype=np.uint8)
    picture[:32, :48], picture[:32, 48:], picture[32:, :48], picture[32:, 48:] = RED, GREEN, BLUE, GREY
    return picture


# EXIF orientation to how a camera stores what is upright.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}
