"""Figures of concepts: each place of a volume and of a signal in the colour of its strongest concept."""

import numpy as np

from camtool.io.signals import Signal
from camtool.io.volumes import Geometry
from camtool.visualization.concepts import ConceptMaps, colours
from camtool.visualization.signals import LEFT, STRIP, WIDTH, concept_signal
from camtool.visualization.volume_views import MARGIN as FRAME
from camtool.visualization.volumes import SIDE, concept_slices

RED, CYAN = colours(2).astype(int)


def places_of(picture: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return the (row, column) of the pixels of a colour."""
    return np.argwhere(np.abs(picture.astype(int) - colour).max(axis=-1) < 60)


def test_slices_go_through_the_maximum_of_each_concept_and_show_all_of_them() -> None:
    shape, balls = (20, 24, 16), ((13, 7, 10), (5, 18, 10))  # in one axial plane
    maps = np.stack([np.exp(-((np.stack(np.indices(shape), -1) - ball) ** 2).sum(-1) / 12.0) for ball in balls])

    drawn = concept_slices(np.zeros(shape, np.float32), ConceptMaps(maps, ["one", "two"], opacity=1.0), Geometry.of_spacing((1, 1, 1)))

    step = SIDE / max(shape)
    legend = int((drawn[:, 200] == 0).all(axis=1).argmax()) - 8  # pixels above the black frame
    height = round(shape[1] * step) + 2 * FRAME
    axial = drawn[legend + 8 : legend + 8 + height, 8 : 8 + round(shape[0] * step) + 2 * FRAME]
    for (x, y, _), colour in zip(balls, (RED, CYAN), strict=True):  # the left is at the right, the front at the top
        expected = FRAME + (shape[1] - y - 0.5) * step, FRAME + (shape[0] - x - 0.5) * step
        assert np.abs(places_of(axial, colour).mean(axis=0) - expected).max() < step / 2
    second = drawn[legend + 8 + height :]  # through the other concept: the sagittal slice has its colour alone
    sagittal = second[:, -(round(shape[1] * step) + 2 * FRAME) :]
    assert len(places_of(sagittal, CYAN)) > 100
    assert not len(places_of(sagittal, RED))


def test_a_signal_has_the_colours_of_its_concepts_where_they_are_strong() -> None:
    times = np.arange(0, 10, 0.01)
    maps = np.stack([np.exp(-((times - peak) ** 2) / 0.1) for peak in (2.0, 7.5)])
    maps[:, -100:] = np.nan  # not seen by the network
    signal = Signal(np.sin(times)[None].astype(np.float32), 100.0, ("II",))

    drawn = concept_signal(signal, ConceptMaps(maps, ["early", "late"], ["2 concepts"]))[:, LEFT : LEFT + WIDTH]

    grey = (np.abs(drawn.astype(int) - 176).max(axis=-1) == 0).sum(axis=1)
    strip = drawn[np.flatnonzero(grey > WIDTH // 11)]
    assert len(strip) == STRIP
    for peak, colour in ((2.0, RED), (7.5, CYAN)):
        assert abs(places_of(strip, colour)[:, 1].mean() / WIDTH * 10 - peak) < 0.02
    assert not strip[:, WIDTH // 2 - 20 : WIDTH // 2 + 20].any()  # no concept: black
