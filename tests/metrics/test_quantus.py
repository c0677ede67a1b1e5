"""The same maps and masks as Quantus scores them: its version 0.6.0 gave these values."""

import numpy as np
import pytest

from camtool.metrics import complexity, energy, pointing, rank_accuracy, sparseness

MAPS = np.abs(np.sin(np.arange(240.0) ** 1.5)).reshape(3, 8, 10)
MASKS = np.zeros((3, 8, 10), bool)
MASKS[0, 2:6, 3:8] = MASKS[1, :3, 4:] = MASKS[2, 4:, :7] = True


def test_scores_are_quantus() -> None:
    assert energy(MAPS, MASKS) == pytest.approx([0.21944803867538884, 0.23688989168656255, 0.3725649749457379], rel=1e-9)
    assert rank_accuracy(MAPS, MASKS) == pytest.approx([0.1, 0.3333333333333333, 0.35714285714285715], rel=1e-9)
    assert pointing(MAPS, MASKS, 0).tolist() == [False, False, True]
    assert sparseness(MAPS) == pytest.approx([0.22495514987729645, 0.22303891177628593, 0.260829651374871], rel=1e-6)
    assert complexity(MAPS) == pytest.approx([4.274512752628884, 4.28352832081587, 4.241651987173223], rel=1e-7)  # 1e-8 in its logarithm


def test_where_quantus_differs() -> None:
    # Quantus takes any of several maxima inside for a hit, and orders equal values by their place in the array.
    two, mask = np.array([[0.0, 5.0, 5.0, 0.0]] * 64), np.array([[0, 1, 0, 0]] * 64)
    assert 16 < pointing(two, mask, 0).sum() < 48
    assert rank_accuracy(two, mask).tolist() == [0.5] * 64
