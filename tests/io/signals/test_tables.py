"""Tables of signals: delimiters, names, units, columns of time, gaps, and lines that are wrong."""

from pathlib import Path

import numpy as np
import pytest

from camtool.errors import ImageError
from camtool.io.signals import Signal, SignalReading, read_signal


def table(folder: Path, text: str, **settings: object) -> Signal:
    path = folder / "x.csv"
    path.write_bytes(text.encode())
    return read_signal(path, SignalReading(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "names", "rate", "values"),
    [
        ("1,2\n3,4\n", ("0", "1"), None, [[1, 3], [2, 4]]),
        ("1\n3\n", ("0",), None, [[1, 3]]),
        ("\ufeffI,II\r\n1,2\r\n3,4\r\n", ("I", "II"), None, [[1, 3], [2, 4]]),
        ("1,5;2,5\n3,5;4\n", ("0", "1"), None, [[1.5, 3.5], [2.5, 4]]),
        ("1,5\t2,5\n3.5\t4\n", ("0", "1"), None, [[1.5, 3.5], [2.5, 4]]),
        ("  1   2\n 3 4  \n", ("0", "1"), None, [[1, 3], [2, 4]]),
        ('"lead I, raw","II"\n1,2\n3,4\n', ("lead I, raw", "II"), None, [[1, 3], [2, 4]]),
        ("'Elapsed time','MLII'\n'seconds','mV'\n0,1\n0.5,2\n1,3\n", ("MLII",), 2, [[1, 2, 3]]),
        ("time,I\nms,mV\n0,1\n2,2\n4,3\n", ("I",), 500, [[1, 2, 3]]),
        ("I,time [ms]\n1,0\n2,2\n3,4\n", ("I",), 500, [[1, 2, 3]]),
        ("t,1,2\n0,5,6\n0.5,7,8\n", ("1", "2"), 2, [[5, 7], [6, 8]]),
        ("# of a phantom\n# time a b\n0 1 2\n.5 3 4\n1 2 2", ("a", "b"), 2, [[1, 3, 2], [2, 4, 2]]),
        (",a,b\n0,1,2\n1,3,4\n", ("a", "b"), None, [[1, 3], [2, 4]]),  # pandas' index
        ("index,a\n4,1\n6,3\n", ("index", "a"), None, [[4, 6], [1, 3]]),  # numbers of something else
    ],
)
def test_columns_are_channels_and_time_is_none(
    tmp_path: Path, text: str, names: tuple[str, ...], rate: float | None, values: list[list[float]]
) -> None:
    signal = table(tmp_path, text)
    assert (signal.names, signal.rate, signal.values.tolist()) == (names, rate, values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,I\n0,1\n0.1,2\n0.2,x\n", r"Line 4 of .* has 'x'; expected numbers separated by ','"),
        ("1,2\n3\n", r"Line 2 of .* has one field, separated by ','; expected 2"),
        ("1;2\n3\n", r"Line 2 of .* has one field, separated by ';'; expected 2"),
        ("a,b\n1,2\n3,4,5\n", r"Line 3 of .* has 3 fields.*as the line of names has"),
        ("1|2\n3|4\n", r"Line 1 of .* has '1\|2'; expected numbers separated by , ; tabs or spaces"),
        ("a|b\n1|2\n", r"Line 2 of .* has '1\|2'"),
        ("1.0,abc,2\n1,2,3\n", r"Line 1 of .* has 'abc'"),
        ("2020-01-01 00:00:00,1\n2020-01-01 00:00:01,2\n", r"Line 1 of .* has '2020"),
        ("a,b\n", "no line of numbers"),
        ("# nothing\n\n", "no line of numbers"),
        ("a,b\n1,2\n,3\n", r"one value that is no finite number, the first in channel 'a' at sample 1"),
        ("a\n1\n\n3\n", r"one value .* in channel 'a' at sample 1"),
        ("1,2\nnan,3\ninf,4\n", r"2 values .* in channel '0' at sample 1"),
        ("1e300,2\n3,4\n", r"one value .* in channel '0' at sample 0"),  # beyond float32
        ("time,I\n0,1\n0.1,2\n0.3,3\n", r"times in column 'time' .* not even: line 4 follows after 0\.2 s"),
        ("time,I\n0,1\n0.1,2\n0.1,3\n", r"not even: line 4 follows after 0 s"),
        ("time,I\n0,1\n,2\n0.2,3\n", r"Line 3 of .* has no time"),
        ("time,I\n0,1\n", "one line of numbers; expected two or more times"),
        ("time\n0\n1\n", "no channel"),
        ("1_000,2\n3,4\n", r"has '1_000'"),
    ],
)
def test_lines_that_are_wrong_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        table(tmp_path, text)


def test_gaps_are_filled_when_asked(tmp_path: Path) -> None:
    text = "a,b\n,10\n1,\n,\n4,40\n,50\n"
    assert table(tmp_path, text, fill=0.0).values.tolist() == [[0, 1, 0, 4, 0], [10, 0, 0, 40, 50]]
    assert table(tmp_path, text, fill="linear").values.tolist() == [[1, 1, 2.5, 4, 4], [10, 20, 30, 40, 50]]
    with pytest.raises(ImageError, match=r"Channel 'b' of .* has no finite value"):
        table(tmp_path, "a,b\n1,\n2,\n", fill="linear")


@pytest.mark.parametrize("seed", range(12))
def test_the_rate_of_rounded_times_is_found_and_a_missing_or_doubled_line_never_passes(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rate = float(rng.choice([1, 25, 100, 128, 250, 360, 12.5, 44.1]))
    count, first = int(rng.integers(5, 400)), float(rng.integers(0, 50))
    decimals = int(rng.integers(3, 7))
    lines = [f"{first + index / rate:.{decimals}f},{index}" for index in range(count)]
    signal = table(tmp_path, "\n".join(["time,a", *lines]))
    assert signal.rate == pytest.approx(rate, rel=10.0**-decimals * rate / count)
    assert signal.start == pytest.approx(first)
    gone = int(rng.integers(1, count - 1))
    with pytest.raises(ImageError, match=f"line {gone + 2} follows"):
        table(tmp_path, "\n".join(["time,a", *lines[:gone], *lines[gone + 1 :]]))
    with pytest.raises(ImageError, match=f"line {gone + 3} follows after 0 s"):
        table(tmp_path, "\n".join(["time,a", *lines[: gone + 1], *lines[gone:]]))


def test_a_clock_that_changes_its_rate_is_no_even_time(tmp_path: Path) -> None:
    times = np.cumsum([*[0.01] * 200, *[0.011] * 200])
    with pytest.raises(ImageError, match="not even"):
        table(tmp_path, "\n".join(["time,a", *(f"{time:.4f},1" for time in times)]))


def test_times_of_a_span_are_those_of_the_table(tmp_path: Path) -> None:
    lines = [f"{10 + index / 4},{index}" for index in range(40)]
    text = "\n".join(["time,a", *lines])
    signal = table(tmp_path, text, start=12.0, duration=1.0)
    assert (signal.values.tolist(), signal.start, signal.times.tolist()) == ([[8, 9, 10, 11]], 12.0, [12, 12.25, 12.5, 12.75])
    with pytest.raises(ImageError, match="10 s long, from 10 s to 20 s"):
        table(tmp_path, text, start=1.0)


def test_a_table_too_large_or_of_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a table of"):
        table(tmp_path, "1,2\n" * 100, max_bytes=1000)
    (tmp_path / "y.csv").write_bytes(b"PK\x03\x04\0\0\0\0")
    with pytest.raises(ImageError, match="is no text"):
        read_signal(tmp_path / "y.csv")
