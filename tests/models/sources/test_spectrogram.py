"""Preprocessing of signals to spectrograms, and maps over these on the record."""

from typing import Any

import numpy as np
import pytest

from camtool.apis.seen_masks import SeenMasks
from camtool.apis.signals import NamedSignal
from camtool.errors import ConfigError, ImageError
from camtool.io.signals import Signal
from camtool.models.sources.signal_preprocessing import SignalPreprocess
from camtool.models.sources.spectrogram import Spectrogram

RATE, PITCH, START, END = 8000.0, 1000.0, 1.0, 1.25


def record(channels: int = 1, rate: float = RATE) -> Signal:
    """Return two seconds with a tone from one second on."""
    times = np.arange(int(2 * rate)) / rate
    tone = np.sin(2 * np.pi * PITCH * times) * ((times >= START) & (times < END))
    noise = 0.01 * np.random.default_rng(0).standard_normal((channels, len(times)))
    return Signal((tone + noise).astype(np.float32), rate, tuple(map(str, range(channels))), name="tone")


@pytest.mark.parametrize("spec", [{"window": 256}, {"window": 200, "hop": 77, "mels": 30}, {"window": 64, "log": False, "power": 1}])
@pytest.mark.parametrize("rate", [RATE, 11025.0])
def test_what_is_loud_in_the_spectrogram_lies_at_the_tone(spec: dict[str, Any], rate: float) -> None:
    signal = record(2, rate)
    preprocess = SignalPreprocess({"rate": 8000, "spectrogram": spec})

    inputs = preprocess(signal)[0].numpy()

    spectrogram = Spectrogram(spec)
    assert inputs.shape == (2, spectrogram.rows, spectrogram.frames(16000))
    for channel in inputs:
        on_signal = preprocess.to_signal(channel - channel.min(), signal)
        assert on_signal.shape == (signal.length,)
        times = np.arange(signal.length) / rate
        loud = on_signal > (np.median(on_signal) + on_signal.max()) / 2
        # To half a window at each end.
        assert abs(times[loud].min() - START) < spectrogram.window / 2 / RATE + 2 / rate
        assert abs(times[loud].max() - END) < spectrogram.window / 2 / RATE + 2 / rate
        frame = channel[:, int(1.125 * RATE) // spectrogram.hop]
        assert frame.argmax() == (PITCH / RATE * spectrogram.window if spectrogram.mels is None else _band(spectrogram.mels))


def _band(mels: int) -> int:
    """Return the number of the band whose tip is nearest to the pitch on the mel scale."""
    highest, own = (2595 * np.log10(1 + frequency / 700) for frequency in (RATE / 2, PITCH))
    return round(own / highest * (mels + 1)) - 1


def test_each_frequency_is_in_bands_that_add_up_to_one() -> None:
    bands = Spectrogram({"window": 512, "mels": 20})._bands(RATE)
    tips = bands.argmax(axis=1)
    assert (np.diff(tips) > 0).all()
    np.testing.assert_allclose(bands[:, tips[0] + 1 : tips[-1]].sum(axis=0), 1, atol=1e-12)


def test_a_mask_over_time_is_one_over_every_frequency() -> None:
    signal = record()
    preprocess = SignalPreprocess({"spectrogram": {"window": 128, "hop": 32}})
    times = np.arange(signal.length) / RATE

    seen = SeenMasks(preprocess).of((times >= START) & (times < END), NamedSignal(signal))

    assert seen.mask.shape == tuple(preprocess(signal).shape[2:])
    assert (seen.mask == seen.mask[:1]).all()
    assert seen.mask[0].nonzero()[0].tolist() == list(range(250, 313))  # frames of 32 samples from 8000 to 9999
    assert seen.outside == 0


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"windows": 256}, "no key 'windows'.*window"),
        ({"hop": 4}, "needs window"),
        ({"window": 2}, "whole number from 4"),
        ({"window": 256, "hop": 0}, "whole number from 1, got 0"),
        ({"window": 256, "power": 3}, "must be 1 or 2"),
        ({"window": 256, "log": 1}, "True or False"),
        (256, "must be a dict"),
    ],
)
def test_a_wrong_description_is_refused(spec: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SignalPreprocess({"spectrogram": spec})


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(ConfigError, match="both shape and spectrogram"):
        SignalPreprocess({"spectrogram": {"window": 64}, "shape": "ct"})
    short = Signal(np.ones((1, 100), np.float32), RATE, ("0",), name="short")
    with pytest.raises(ImageError, match="100 samples; expected more than half the spectrogram's window of 256"):
        SignalPreprocess({"spectrogram": {"window": 256}})(short)
    unknown = Signal(np.ones((1, 1000), np.float32), None, ("0",), name="unknown")
    with pytest.raises(ImageError, match="--sampling-rate"):
        SignalPreprocess({"spectrogram": {"window": 256, "mels": 8}})(unknown)
    with pytest.raises(ConfigError, match="33 frequencies and 501 frames"):
        SignalPreprocess({"spectrogram": {"window": 64, "hop": 32}}).to_signal(np.ones((33, 500)), record())
