"""Scores of nothing: fractions that remove no position, explanations of no method."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from camtool import metrics
from camtool.errors import DataError

INPUTS = torch.tensor([[[9.0, 0.0, 1.0, 0.0, 2.0]]])


@pytest.mark.parametrize("metric", [metrics.road, metrics.road_curves])
def test_a_fraction_that_removes_no_position_is_named(metric: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"remove a position, got 0\.1, which is less than one of 5; .* at least 0\.2"):
        metric(nn.Flatten(), INPUTS, INPUTS.sum(dim=1), 0)

    metric(nn.Flatten(), INPUTS, INPUTS.sum(dim=1), 0, fractions=[0.2, 0.5])


def no_method(*_: Any) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("metric", [metrics.max_sensitivity, metrics.emprt, metrics.randomisation])
def test_no_method_has_no_scores(metric: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="Expected maps of at least one method, got an empty dict"):
        metric(nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), INPUTS, no_method, 0)
