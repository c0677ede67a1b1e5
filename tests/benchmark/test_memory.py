"""Peak memory is that of known allocations."""

import pytest
import torch

from camtool.benchmark.memory import peak_bytes

MEGABYTE = 2**20


def _floats(megabytes: int) -> torch.Tensor:
    return torch.empty(megabytes * MEGABYTE // 4)


def test_the_peak_is_what_was_alive_at_once_not_what_was_allocated_nor_what_is_left() -> None:
    before = _floats(64)

    def run() -> torch.Tensor:
        first, second = _floats(8), _floats(4)  # 12 at once
        del first
        third = _floats(2)  # 6 at once
        return second[:1] + third[:1] + before[:1]

    assert 12 * MEGABYTE <= peak_bytes(run, "cpu") < 12 * MEGABYTE + 4096


def test_what_is_freed_during_the_call_makes_room() -> None:
    held = [_floats(8)]

    def run() -> None:
        held.clear()
        held.append(_floats(8))

    assert peak_bytes(run, "cpu") <= 8 * MEGABYTE


def test_a_graph_that_is_kept_is_seen() -> None:
    weight = torch.ones(MEGABYTE // 4, requires_grad=True)

    def run() -> None:
        value = weight
        for _ in range(5):
            value = value.exp()

    assert 5 * MEGABYTE <= peak_bytes(run, "cpu") < 5 * MEGABYTE + 4096
    with torch.no_grad():
        assert 2 * MEGABYTE <= peak_bytes(run, "cpu") < 2 * MEGABYTE + 4096


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_too() -> None:
    def run() -> None:
        _ = [torch.empty(MEGABYTE, device="cuda") for _ in range(3)]

    assert 12 * MEGABYTE <= peak_bytes(run, "cuda") < 13 * MEGABYTE
