"""Random places for shapes that do not overlap."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from camtool.errors import DataError

TRIES = 64  # candidate places drawn at once for a shape
ROUNDS = 256  # of drawing all places anew, where one shape found none: in volumes, two large ones fit in few pairs of corners only


def random_places(reaches: Sequence[float], size: int, rank: int, random: np.random.Generator) -> list[Float[np.ndarray, " rank"]]:
    """Return random centres at which shapes of these reaches lie inside the image and do not overlap.

    Args:
        size: length of each axis.

    Raises:
        DataError: if there is no room for them.
    """
    for _ in range(ROUNDS):
        centres: list[np.ndarray] = []
        for reach in reaches:
            candidates = random.uniform(reach, max(size - 1 - reach, reach), (TRIES, rank))
            apart = np.all(
                [np.linalg.norm(candidates - centre, axis=1) > reach + other for centre, other in zip(centres, reaches, strict=False)],
                axis=0,
            )
            free = candidates[apart] if centres else candidates
            if not len(free):
                break
            centres.append(free[0])
        else:
            return centres
    raise DataError(f"No room for {len(reaches)} shapes in {size} pixels along each axis; give fewer distractors or a larger size.")
