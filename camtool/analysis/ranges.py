"""Range table: percentiles of the largest and of the smallest values of a data set's raw maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

PERCENTILES = (25, 50, 75, 90, 99)


@dataclass(frozen=True)
class RangeTable:
    """Percentiles of the maxima and minima of maps, each map at the size of its features."""

    maxima: dict[float, float]
    """By percentile."""
    minima: dict[float, float]
    count: int
    """Number of maps."""
    left_out: int
    """Number of rows without a map."""

    def csv(self) -> str:
        """Return the table as CSV, with the columns percentile, max and min."""
        lines = [f"{percentile:g},{self.maxima[percentile]!r},{self.minima[percentile]!r}" for percentile in self.maxima]
        return "\n".join(["percentile,max,min", *lines, ""])


def range_table(
    maxima: Float[np.ndarray, " n"], minima: Float[np.ndarray, " n"], *, further: Sequence[float] = (), left_out: int = 0
) -> RangeTable:
    """Return the percentiles (25, 50, 75, 90, 99) of maxima and minima, interpolated linearly between neighbours.

    Args:
        further: more percentiles.

    Example:
        >>> import numpy as np
        >>> range_table(np.array([0.0, 1.0, 2.0, 3.0, 4.0]), -np.arange(5.0)).maxima
        {25.0: 1.0, 50.0: 2.0, 75.0: 3.0, 90.0: 3.6, 99.0: 3.96}
    """
    wanted = sorted({*map(float, PERCENTILES), *further})
    by_max, by_min = (np.percentile(values.astype(np.float64), wanted).tolist() for values in (maxima, minima))
    return RangeTable(dict(zip(wanted, by_max, strict=True)), dict(zip(wanted, by_min, strict=True)), count=len(maxima), left_out=left_out)
