"""Calls leave no tensor in memory, however many they are; `python -m tests.memory_of_calls` counts for every method."""

import pytest

from tests.memory_of_calls import growth_of

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")

MOST_KILOBYTES = 8_000  # the allocator's own; a graph of these calls alone would be more


@pytest.mark.parametrize("name", ["gradcam", "legrad", "fullgrad"])
def test_memory_of_many_calls_is_flat(name: str) -> None:
    growth = growth_of(name, 10)
    assert growth.tensors == 0
    assert growth.kilobytes < MOST_KILOBYTES
