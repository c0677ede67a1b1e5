import pytest
import torch

from camtool.instrumentation import batching
from camtool.instrumentation.batching import chunk_size, in_chunks


def ranges(count: int, size: int, most: int = 1000) -> list[tuple[int, int]]:
    """Return the ranges that were run where more than `most` at a time do not fit into memory."""
    done = []

    def run(start: int, stop: int) -> None:
        if stop - start > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.append((start, stop))

    in_chunks(count, size, run)
    return done


def test_ranges_are_consecutive_and_the_last_is_shorter() -> None:
    assert ranges(7, 3) == [(0, 3), (3, 6), (6, 7)]
    assert ranges(2, 8) == [(0, 2)]
    assert ranges(0, 8) == []


def test_out_of_memory_halves_a_chunk_and_goes_on() -> None:
    assert ranges(10, 8, most=3) == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]


def test_one_copy_that_does_not_fit_is_the_end() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        ranges(4, 4, most=0)


def test_the_cpus_allocator_is_understood_too() -> None:
    sizes = []

    def run(start: int, stop: int) -> None:
        sizes.append(stop - start)
        if stop - start > 1:
            torch.empty(1 << 62, dtype=torch.int8)

    in_chunks(2, 2, run)
    assert sizes == [2, 1, 1]


def test_another_error_is_not_believed_to_be_a_lack_of_memory() -> None:
    def run(start: int, stop: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        in_chunks(4, 4, run)


def test_progress_is_told_between_chunks() -> None:
    told: list[tuple[int, int]] = []
    in_chunks(5, 2, lambda *_: None, lambda *told_now: told.append(told_now))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_chunks_shrink_with_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    copy = torch.zeros(1, 1024)  # 4 KiB, believed to need 256 KiB
    for free, expected in ((1 << 40, batching.AT_ONCE["cpu"]), (3 << 18, 3), (10, 1)):
        monkeypatch.setattr(batching, "_free_memory", lambda _, free=free: free)
        assert chunk_size(copy) == expected


def test_free_memory_is_known() -> None:
    assert 1 << 20 < batching._free_memory(torch.device("cpu")) < 1 << 50
