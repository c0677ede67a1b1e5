"""Figures of signals: what is drawn lies at its time, to a pixel, and neither peaks nor maxima are lost."""

import time

import numpy as np
import pytest

from camtool.errors import OutputError
from camtool.io.signals import Signal
from camtool.visualization.figures import Cell, Style
from camtool.visualization.overlay import colours_of
from camtool.visualization.signals import LEFT, RIGHT, STRIP, WIDTH, Span, columns_of, signal_figure

STYLE = Style(colormap="viridis")
HIGHEST, LOWEST, UNKNOWN = colours_of("viridis")[255], colours_of("viridis")[0], np.array([176] * 3)


def flat(length: int, channels: int = 1, rate: float | None = 100.0) -> Signal:
    return Signal(np.zeros((channels, length), np.float32), rate, tuple(f"c{k}" for k in range(channels)), start=3.0 if rate else 0.0)


def strips(figure: np.ndarray, colour: np.ndarray) -> list[np.ndarray]:
    """Return for each strip from the top the columns of the time axis that have a colour in all of its rows."""
    # All pixels of STRIP rows have a colour of the map; no line and no frame is as high.
    axis = figure[:, LEFT : LEFT + WIDTH]
    inside = np.isin(axis @ np.array([65536, 256, 1]), np.vstack([colours_of("viridis"), UNKNOWN]).astype(int) @ np.array([65536, 256, 1]))
    rows = np.flatnonzero(inside.mean(axis=1) > 0.99)
    starts = [row for row in rows if row - 1 not in rows and {*range(row, row + STRIP)} <= {*rows.tolist()}]
    return [np.flatnonzero((axis[row : row + STRIP] == colour).all(axis=(0, 2))) for row in starts]


@pytest.mark.parametrize("length", [60, 700, WIDTH, 1500, 2200, 7919, 108000])
@pytest.mark.parametrize("seed", range(3))
def test_the_brightest_column_is_where_the_maximum_is(length: int, seed: int) -> None:
    place = int(np.random.default_rng(seed).integers(length))
    saliency = np.zeros(length)
    saliency[place] = 1
    figure = signal_figure(flat(length), [[Cell(saliency, "a", "b")]], STYLE)
    (columns,) = strips(figure, HIGHEST)
    expected = (place + 0.5) / length * WIDTH  # of the middle of the sample, from the left of the axis
    assert len(columns) > 0
    assert abs(columns.mean() + 0.5 - expected) <= 1
    assert np.ptp(columns) <= WIDTH / length


@pytest.mark.parametrize("length", [500, 30000])
def test_the_line_has_the_colours_of_the_strip_below_it(length: int) -> None:
    saliency = np.zeros(length)
    saliency[length // 3 : length // 3 + length // 20] = 1
    figure = signal_figure(flat(length), [[Cell(saliency, "", "")]], STYLE)
    (strip,) = strips(figure, HIGHEST)
    is_bright = (np.abs(figure[:, LEFT : LEFT + WIDTH].astype(int) - HIGHEST) < 12).all(axis=2)
    line = np.flatnonzero(is_bright[: figure.shape[0] // 2].any(axis=0))
    assert np.abs(np.array([line.min() - strip.min(), line.max() - strip.max()])).max() <= 1


def test_a_peak_of_one_sample_in_five_minutes_is_drawn_where_it_is_and_quickly() -> None:
    signal = flat(108000, rate=360.0)
    signal.values[0, 77777] = 1
    begun = time.process_time()
    figure = signal_figure(signal, [[Cell(np.zeros(108000), "", "")]], STYLE)
    assert time.process_time() - begun < 2
    is_line = (np.abs(figure[:, LEFT : LEFT + WIDTH].astype(int) - LOWEST) < 12).all(axis=2)
    heights = is_line[:-STRIP].sum(axis=0)
    assert abs(heights.argmax() + 0.5 - 77777.5 / 108000 * WIDTH) <= 1.5
    assert heights.max() > 80


def test_each_sample_is_in_one_column() -> None:
    values = np.random.default_rng(0).normal(size=5431)
    lowest, highest = columns_of(values, 400)
    for column in range(400):
        own = [value for k, value in enumerate(values) if column <= (k + 0.5) * 400 / 5431 < column + 1]
        assert (lowest[column], highest[column]) == (min(own), max(own))


def test_outside_of_the_input_line_and_strip_are_grey() -> None:
    saliency = np.full(WIDTH, np.nan)
    saliency[200:900] = 0
    figure = signal_figure(flat(WIDTH), [[Cell(saliency, "", "")]], STYLE)
    np.testing.assert_array_equal(strips(figure, LOWEST)[0], np.arange(200, 900))
    np.testing.assert_array_equal(strips(figure, UNKNOWN)[0], [*range(200), *range(900, WIDTH)])


def test_maps_of_channels_have_a_strip_each_and_chosen_channels_are_drawn() -> None:
    saliency = np.zeros((3, WIDTH))
    saliency[0, 100] = saliency[1, 500] = saliency[2, 900] = 1
    cell = Cell(saliency, "", "")
    for channels in ([0, 1, 2], [2, 0]):
        found = strips(signal_figure(flat(WIDTH, 3), [[cell]], STYLE, channels=channels), HIGHEST)
        assert [columns.tolist() for columns in found] == [[100 + 400 * channel] for channel in channels]
    one = signal_figure(flat(WIDTH, 3), [[Cell(saliency[1], "", "")]], STYLE)
    assert [columns.tolist() for columns in strips(one, HIGHEST)] == [[500]]


def test_several_maps_are_blocks_of_one_axis_and_a_signed_one_keeps_what_is_farthest_from_zero() -> None:
    length = 4 * WIDTH
    low, high = np.full(length, 0.5), np.full(length, 0.5)
    low[400], high[800] = 0, 1
    cells = [Cell(low, "a", "x"), Cell(high, "b", "x", remark="flat")]
    figure = signal_figure(flat(length), [cells[:1], cells[1:]], Style(colormap="viridis", signed=True), alarm="RANDOM WEIGHTS")
    assert strips(figure, LOWEST)[0].tolist() == [100]
    assert strips(figure, HIGHEST)[1].tolist() == [200]
    assert figure.shape[1] == LEFT + WIDTH + RIGHT


def test_a_span_is_shaded_at_its_seconds() -> None:
    signal = flat(WIDTH)  # from 3 s, 100 samples a second
    span = Span(5.0, 8.0, "region")
    plain, marked = (
        signal_figure(signal, [[Cell(np.zeros(WIDTH), "", "")]], STYLE, spans=spans)[:, LEFT : LEFT + WIDTH].astype(int)
        for spans in ((), (span,))
    )
    shaded = np.flatnonzero((np.abs(plain - marked).sum(axis=2) > 0).sum(axis=0) > 50)
    assert abs(shaded.min() - 200.5) <= 2  # a dashed line is drawn on each end
    assert abs(shaded.max() - 500.5) <= 2


def test_names_in_any_script_and_with_dollars_are_drawn() -> None:
    signal = Signal(np.ones((2, 50), np.float32), None, ("$a^", "心電図"), units=("µV", ""))
    assert signal_figure(signal, [[Cell(np.zeros(50), "", "")]], STYLE, spans=[Span(1.0, 2.0, "$x")]).dtype == np.uint8


def test_what_cannot_be_drawn_is_refused() -> None:
    cell = Cell(np.zeros(50), "", "x")
    with pytest.raises(OutputError, match=r"has 300 plots; expected at most 240. Choose some of the channels"):
        signal_figure(flat(50, 100), [[cell] * 3], STYLE)
    with pytest.raises(OutputError, match=r"channels from 0 to 1"):
        signal_figure(flat(50, 2), [[cell]], STYLE, channels=[2])
    with pytest.raises(OutputError, match=r"maps of shape \(60,\) or \(2, 60\), as the signal, got \(50,\)"):
        signal_figure(flat(60, 2), [[cell]], STYLE)
