"""A watermark in a corner of scenes: a cue that goes with a class as often as is asked, whose place is known."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from camtool.errors import DataError

SHARE = 6  # of the side; a watermark is as long along each axis
STRENGTH = 0.16  # what its stripes add to channels in [0, 1], and take away


@dataclass(frozen=True)
class Watermark:
    """Stripes in the corner at the end of the first axis and the start of the others, in scenes of a class more often than in the rest.

    With a correlation c they are in (1 + c) / 2 of the class's scenes and in (1 - c) / 2 of those of every other class: in half of all
    scenes with 0, so that they tell nothing, and with 1 in all scenes of the class and in no other, so that they tell it as well as
    its object does. c is the difference between both shares.

    Args:
        name: of the class.
        correlation: 0 to 1.

    Raises:
        DataError: if the correlation is out of range.

    Example:
        >>> from camtool.datasets.synthetic.scenes import ShapeScenes
        >>> scenes = ShapeScenes(size=32, watermark=Watermark("disc", correlation=1.0))
        >>> [scenes.classes[index] for index in range(6) if scenes.scene(index).sample().watermark_mask.any()]
        ['disc']
    """

    name: str
    correlation: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.correlation <= 1:
            raise DataError(f"A watermark needs 0 <= correlation <= 1, got {self.correlation}.")

    def drawn(self, name: str, size: int, rank: int, random: np.random.Generator) -> Float32[np.ndarray, "*spatial"] | None:
        """Return what is added to every channel of a scene of class `name`; None: the scene has no watermark."""
        share = (1 + self.correlation) / 2 if name == self.name else (1 - self.correlation) / 2
        if random.random() >= share:
            return None
        length = size // SHARE
        field = np.zeros((size,) * rank, dtype=np.float32)
        corner = (slice(size - 1 - length, size - 1), *[slice(1, 1 + length)] * (rank - 1))
        field[corner] = np.where(np.indices((length,) * rank).sum(axis=0) % 4 < 2, STRENGTH, -STRENGTH)
        return field
