"""Preprocessing of signals: values, and places that survive the way to the network's input and back."""

from typing import Any

import numpy as np
import pytest
import torch

from camtool.errors import ConfigError, ImageError
from camtool.io.signals import Signal
from camtool.models.sources.signal_preprocessing import SignalPreprocess


def signal_of(values: Any, rate: float | None = 100.0) -> Signal:
    values = np.atleast_2d(np.asarray(values, np.float32))
    return Signal(values, rate, tuple(f"c{number}" for number in range(len(values))), name="x.csv")


def random_settings(rng: np.random.Generator) -> tuple[Signal, dict[str, Any]]:
    """Return a signal of zeros and a preprocessing of it, both of any rate, length and alignment."""
    rate, new = (float(rng.choice([50, 100, 128, 200, 250, 360, 500, 256.41])) for _ in range(2))
    length = int(rng.integers(200, 900))
    resampled = length * new / rate
    spec = {"rate": new} if rng.random() < 0.8 else {}
    if rng.random() < 0.8:
        spec.update(length=int((resampled if spec else length) * rng.uniform(0.4, 1.8)), align=str(rng.choice(["start", "centre"])))
    return signal_of(np.zeros((2, length)), rate), spec


@pytest.mark.parametrize("seed", range(60))
def test_an_impulse_survives_the_way_there_and_back_within_half_a_sample(seed: int) -> None:
    rng = np.random.default_rng(seed)
    signal, spec = random_settings(rng)
    preprocess = SignalPreprocess(spec)
    inside = np.flatnonzero(np.isfinite(preprocess.to_signal(np.zeros(preprocess(signal).shape[-1]), signal)))
    place = int(rng.choice(inside[5:-5]))
    signal.values[1, place] = 1
    on_input = preprocess(signal)[0].numpy()
    assert not on_input[0].any()
    back = preprocess.to_signal(on_input[1], signal)
    # Half a sample of the coarser of both rates.
    assert abs(int(np.nanargmax(back)) - place) <= max(0.5 * signal.rate / spec.get("rate", signal.rate), 0.5) + 1e-9


@pytest.mark.parametrize("seed", range(60))
def test_no_cell_of_a_map_is_lost_and_each_lies_at_its_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    signal, spec = random_settings(rng)
    preprocess = SignalPreprocess(spec)
    length = preprocess(signal).shape[-1]
    new = spec.get("rate", signal.rate)
    available = int(np.ceil(signal.length * new / signal.rate - 1e-6))
    first = (available - length) // 2 if spec.get("align") == "centre" else 0  # sample of the resampled signal at the input's begin
    cell = int(rng.integers(max(-first, 0), min(length, available - first)))
    saliency = np.zeros(length)
    saliency[cell] = 1
    back = preprocess.to_signal(saliency, signal)
    expected = (cell + first) / new * signal.rate  # in samples of the signal
    if expected <= signal.length - 1:
        assert abs(np.nanargmax(back) - expected) <= 0.5 + 1e-4
        assert np.nanmax(back) > 0


@pytest.mark.parametrize("seed", range(30))
def test_maps_are_unknown_exactly_where_the_input_does_not_reach(seed: int) -> None:
    signal, spec = random_settings(np.random.default_rng(seed))
    preprocess = SignalPreprocess(spec)
    length = preprocess(signal).shape[-1]
    back = preprocess.to_signal(np.ones((3, length)), signal)
    ratio = spec.get("rate", signal.rate) / signal.rate
    available = int(np.ceil(signal.length * ratio - 1e-6))
    first = (available - length) // 2 if spec.get("align") == "centre" else 0
    places = np.arange(signal.length) * ratio - first
    assert back.shape == (3, signal.length)
    np.testing.assert_array_equal(np.isnan(back[1]), (places < -0.5) | (places > length - 0.5))
    np.testing.assert_allclose(back[np.isfinite(back)], 1)


def test_without_keys_values_are_fed_as_they_lie() -> None:
    values = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    inputs = SignalPreprocess({})(signal_of(values, None))
    assert torch.equal(inputs, torch.from_numpy(values)[None])
    ramp = np.arange(50.0)
    np.testing.assert_array_equal(SignalPreprocess({}).to_signal(ramp, signal_of(values)), ramp)


def test_resampling_keeps_constants_and_slow_waves_and_removes_what_would_alias() -> None:
    times = np.arange(2000) / 500
    slow, fast = np.sin(2 * np.pi * 3 * times) + 5, np.sin(2 * np.pi * 190 * times)
    resampled = SignalPreprocess({"rate": 100})(signal_of(np.stack([slow, fast, np.full(2000, 7.0)]), 500.0))[0].numpy()
    np.testing.assert_allclose(resampled[0, 20:-20], slow[::5][20:-20], atol=0.01)
    assert np.abs(resampled[1, 20:-20]).max() < 0.01
    np.testing.assert_allclose(resampled[2], 7, atol=1e-4)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"length": 3}, [1, 2, 3]),
        ({"length": 3, "align": "centre"}, [2, 3, 4]),
        ({"length": 7}, [1, 2, 3, 4, 5, 0, 0]),
        ({"length": 8, "align": "centre"}, [0, 0, 1, 2, 3, 4, 5, 0]),
        ({"mean": 1, "std": 2, "length": 6}, [0, 0.5, 1, 1.5, 2, 0]),
        ({"normalise": "minmax"}, [0, 0.25, 0.5, 0.75, 1]),
        ({"normalise": "zscore", "length": 6}, [*((np.arange(5) - 2) / np.sqrt(2)), 0]),
    ],
)
def test_lengths_and_normalisations_are_those_worked_by_hand(spec: dict[str, Any], expected: list[float]) -> None:
    np.testing.assert_allclose(SignalPreprocess(spec)(signal_of([1, 2, 3, 4, 5]))[0, 0], expected, atol=1e-6)


def test_normalising_is_over_all_channels_or_over_each() -> None:
    signal = signal_of([[0, 2], [10, 10]])
    assert SignalPreprocess({"normalise": "channel"})(signal).tolist() == [[[-1, 1], [0, 0]]]
    whole = SignalPreprocess({"normalise": "zscore"})(signal)
    assert (float(whole.mean()), float(whole.std(correction=0))) == (pytest.approx(0, abs=1e-6), pytest.approx(1))
    assert SignalPreprocess({"mean": [1, 10], "std": [1, 2]})(signal).tolist() == [[[-1, 1], [0, 0]]]


@pytest.mark.parametrize(("shape", "size"), [("ct", (1, 2, 5)), ("ct1", (1, 2, 5, 1)), ("1ct", (1, 1, 2, 5))])
def test_channels_are_chosen_and_axes_are_those_of_the_network(shape: str, size: tuple[int, ...]) -> None:
    signal = signal_of(np.arange(15).reshape(3, 5))
    preprocess = SignalPreprocess({"channels": ["C2", 0], "shape": shape})
    inputs = preprocess(signal)
    assert inputs.shape == size
    assert inputs.reshape(2, 5).tolist() == [[10, 11, 12, 13, 14], [0, 1, 2, 3, 4]]
    assert preprocess.chosen(signal).names == ("c2", "c0")
    saliency = np.arange(5.0)
    np.testing.assert_array_equal(preprocess.to_signal(saliency[:, None] if shape == "ct1" else saliency, signal), saliency)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"rates": 100}, "no key 'rates'; closest: 'rate'"),
        ({"rate": 0}, "'preprocess.rate' must be samples a second"),
        ({"length": 2.5}, "'preprocess.length' must be a number of samples"),
        ({"align": "centre"}, "beside 'preprocess.length'"),
        ({"length": 5, "align": "center"}, "closest: 'centre'"),
        ({"normalise": "zscores"}, "closest: 'zscore'"),
        ({"normalise": "zscore", "mean": 1}, "both normalise and mean or std"),
        ({"std": 0}, "must not be 0"),
        ({"mean": "x"}, "'preprocess.mean' must be one number"),
        ({"channels": []}, "'preprocess.channels' must be a list"),
        ({"shape": "tc"}, "'preprocess.shape' must be one of"),
    ],
)
def test_specs_that_cannot_be_meant_are_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SignalPreprocess(spec)


def test_what_a_signal_lacks_is_named() -> None:
    with pytest.raises(ImageError, match=r"resamples to 50 Hz; give it by --sampling-rate"):
        SignalPreprocess({"rate": 50})(signal_of([1, 2], None))
    with pytest.raises(ImageError, match=r"has no channel 'II', which preprocess.channels names"):
        SignalPreprocess({"channels": ["II"]})(signal_of([1, 2]))
    with pytest.raises(ConfigError, match=r"'preprocess.mean' has 3 numbers, the signal 1 channels"):
        SignalPreprocess({"mean": [1, 2, 3]})(signal_of([1, 2]))
    with pytest.raises(ConfigError, match="map over the 2 samples"):
        SignalPreprocess({}).to_signal(np.zeros(3), signal_of([1, 2]))


def test_ranks_by_channel_without_the_padding() -> None:
    signal = signal_of([[5, 1, 1, 9], [-3, 40, 7, 0]])

    inputs = SignalPreprocess({"length": 6, "normalise": "rank"})(signal)[0]

    expected = [[1 / 3, -2 / 3, -2 / 3, 1, 0, 0], [-1, 1, 1 / 3, -1 / 3, 0, 0]]
    torch.testing.assert_close(inputs, torch.tensor(expected))
    assert SignalPreprocess({"normalise": "rank"})(signal_of([[4.0]])).isfinite().all()
