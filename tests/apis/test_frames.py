"""Networks that score each frame of a signal: a class in a span of seconds, over all frames, and where it is predicted."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from camtool import Explainer
from camtool.apis.frames import read_span
from camtool.config.loading import load_config
from camtool.errors import TargetError
from camtool.io.signals import Signal
from camtool.models import load_network
from camtool.models.sources.signal_preprocessing import SignalPreprocess

CLASSES = 3
pytestmark = pytest.mark.filterwarnings("ignore:.*no positive evidence:camtool.errors.CamtoolWarning")  # of random weights

NETWORK = '''
import torch
from torch import nn


class Frames(nn.Module):
    """Scores (n, classes, frames), or (n, frames, classes), of frames that see `window` samples each, and no others."""

    def __init__(self, window, last, seed=0, classes=3, mixes=False):
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv1d(2, 8, window, stride=window)
        self.mix = nn.Conv1d(8, 8, 1)
        self.head = nn.Conv1d(8, classes, 1)
        self.last, self.mixes = last, mixes

    def forward(self, x):
        features = torch.relu(self.mix(torch.relu(self.conv(x))))
        if self.mixes:
            length = features.shape[2]
            features = features @ torch.randn(length, length, generator=torch.Generator().manual_seed(0))
        scores = self.head(features)
        return scores.mT if self.last else scores


class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 8, 9)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.conv(x).mean(2))
'''


@pytest.fixture
def config(tmp_path: Path) -> Any:
    (tmp_path / "frames.py").write_text(NETWORK)

    def write(
        factory: str = "Frames",
        preprocess: dict[str, Any] | None = None,
        classes: int = CLASSES,
        kwargs: dict[str, Any] | None = None,
        **others: Any,
    ) -> Path:
        both = {**others, **(kwargs or {})}
        model = {"type": "camtool.TorchModel", "factory": f"frames.py:{factory}", "kwargs": both, "with_weights": True}
        model |= {"preprocess": preprocess or {}, **({"classes": [f"c{k}" for k in range(classes)]} if classes else {})}
        (tmp_path / "c.py").write_text(f"model = {model!r}\n")
        return tmp_path / "c.py"

    return write


def noise(seed: int, length: int, rate: float | None = 100.0, start: float = 0.0) -> Signal:
    values = np.random.default_rng(seed).normal(size=(2, length)).astype(np.float32)
    return Signal(values, rate, ("I", "II"), start, name="noise")


@pytest.mark.parametrize("seed", range(12))
def test_the_map_of_a_span_lies_in_it_whatever_the_stride_the_length_and_the_start(config: Any, seed: int) -> None:
    draw = random.Random(seed)
    window, frames = draw.choice([4, 7, 10, 25]), draw.randint(12, 60)
    rate, start = draw.choice([50.0, 100.0, 250.0]), draw.choice([0.0, 6.0, 3.7])
    ratio = draw.choice([1, 2])  # of the network's rate
    preprocess = {} if ratio == 1 else {"rate": rate / ratio}
    signal = noise(seed, window * frames * ratio, rate, start)
    first = draw.randrange(frames - 6)
    last = first + draw.randint(1, 5)
    step = window * ratio / rate  # seconds of a frame
    begin, end = start + first * step, start + last * step
    explainer = Explainer(config(preprocess=preprocess, window=window, last=bool(seed % 2), seed=seed), method=["hirescam", "saliency"])

    explanation = explainer(signal, target={"type": "region", "span": (begin, end)}, categories=[draw.randrange(CLASSES)])

    assert f"sum of {last - first} frame" in explanation.targets[0]["name"]
    (raw,) = explanation.results["hirescam"].raw.values()
    alive = torch.nonzero(raw[0, 0]).flatten().tolist()
    assert set(alive) <= set(range(first, last))
    of_samples = explanation.results["saliency"].attributions[0, 0].abs().sum(0)
    seen = torch.nonzero(of_samples).flatten()
    assert first * window <= seen.min() < seen.max() < last * window
    on_record = explanation.canvas().placed(explanation.results["saliency"].maps[0, 0].numpy())
    marked = np.abs(on_record) > 0.05
    assert (signal.times[marked] >= begin - 2 / rate * ratio).all()
    assert (signal.times[marked] <= end + 2 / rate * ratio).all()


def test_the_value_is_the_sum_of_the_scores_of_the_frames(config: Any) -> None:
    signal = noise(1, 400)
    for last in (False, True):
        explainer = Explainer(config(window=10, last=last))
        scores = explainer.network.model(torch.from_numpy(signal.values)[None])[0]
        scores = scores.mT if last else scores
        of_span = explainer(signal, target={"type": "region", "span": "1.0:2.0"}, categories=["c1"])
        of_all = explainer(signal, target={"type": "region", "span": "all"}, categories=["c0", "c2"])
        of_predicted = explainer(signal, target={"type": "region", "span": "predicted"})

        values = [target.value for target in (*of_span.answer.targets, *of_all.answer.targets, *of_predicted.answer.targets)]

        best = scores.argmax(0)
        frequent = int(best.bincount(minlength=3).argmax())
        expected = [scores[1, 10:20].sum(), scores[0].sum(), scores[2].sum(), scores[frequent, best == frequent].sum()]
        assert values == pytest.approx([float(value) for value in expected], rel=1e-4, abs=1e-4)
        marked = np.concatenate(
            [np.arange(*np.round(np.array(span) * 10 + 0.05).astype(int)) for span in of_predicted.answer.targets[0].spans]
        )
        assert marked.tolist() == torch.nonzero(best == frequent).flatten().tolist()


def test_of_no_class_the_one_of_the_highest_mean_score_in_the_span(config: Any) -> None:
    signal = noise(2, 400)
    explainer = Explainer(config(window=10, last=True))
    scores = explainer.network.model(torch.from_numpy(signal.values)[None])[0]
    for begin in range(4):
        explained = explainer(signal, target={"type": "region", "span": (begin, begin + 0.5)})
        assert explained.answer.targets[0].index == int(scores[10 * begin : 10 * begin + 5].mean(0).argmax())


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("frames", "classes"), [(40, 40), (5, 5), (6, 30), (40, 2)])
def test_the_axis_of_time_is_measured_also_where_there_are_as_many_frames_as_classes(
    config: Any, last: bool, frames: int, classes: int
) -> None:
    explainer = Explainer(config(window=20, last=last, classes=0, seed=4, kwargs={"classes": classes}), method="hirescam")
    signal = noise(3, 20 * frames)
    explained = explainer(signal, target={"type": "region", "span": "0:0.2"}, categories=[0])
    scores = explainer.network.model(torch.from_numpy(signal.values)[None])[0]
    assert explained.answer.targets[0].value == pytest.approx(float(scores[0, 0]), rel=1e-4, abs=1e-4)
    assert "sum of 1 frame " in explained.targets[0]["name"]
    (raw,) = explained.results["hirescam"].raw.values()
    assert raw.shape[-1] == frames
    assert set(torch.nonzero(raw[0, 0]).flatten().tolist()) <= {0}


def test_an_axis_that_cannot_be_measured_is_asked_for(config: Any) -> None:
    signal = noise(5, 400)
    explainer = Explainer(config(window=10, last=True, classes=0, mixes=True), method="saliency")
    with pytest.raises(TargetError, match=r"which axis of the scores \(1, 40, 3\) is time.*--output-axes ntc"):
        explainer(signal, target={"type": "region", "span": "all"}, categories=[1])
    explained = explainer(signal, target={"type": "region", "span": "all", "axes": "ntc"}, categories=[1])
    assert explained.answer.targets[0].value == pytest.approx(
        float(explainer.network.model(torch.from_numpy(signal.values)[None])[0, :, 1].sum().detach()), rel=1e-4
    )


@pytest.mark.parametrize("seed", range(30))
def test_frames_divide_what_the_network_sees_evenly(seed: int) -> None:
    draw = random.Random(seed)
    rate, start, length = draw.choice([50.0, 128.0, 500.0]), draw.uniform(0, 20), draw.randint(200, 900)
    spec: dict[str, Any] = {"rate": draw.choice([25, 100, 250])} if draw.random() < 0.6 else {}
    spec |= {"length": draw.randint(100, 900), "align": draw.choice(["start", "centre"])} if draw.random() < 0.6 else {}
    preprocess, signal = SignalPreprocess(spec), noise(seed, length, rate, start)
    samples = preprocess(signal).shape[-1]
    frames = draw.randint(1, samples)
    # The map over the input that tells each sample's time is, on the record, the record's own time.
    times = preprocess.frame_times(signal, samples).mean(axis=1)
    on_record = preprocess.to_signal(times, signal)
    inner = np.isfinite(on_record)
    inner &= (signal.times > times[1]) & (signal.times < times[-2])
    np.testing.assert_allclose(on_record[inner], signal.times[inner], atol=0.05 / min(rate, spec.get("rate", rate)))
    edges = preprocess.frame_times(signal, frames)
    assert edges.shape == (frames, 2)
    np.testing.assert_allclose(edges[1:, 0], edges[:-1, 1])
    np.testing.assert_allclose(edges[:, 1] - edges[:, 0], samples / frames / spec.get("rate", rate), rtol=2e-3)


WRONG_SPANS = ["1.5", "1.5:2:3", "2:1", "1:1", "nan:2", "a:b", "", "alll", [], (1,), [("all", "predicted")], [1, "2:3"], None]


@pytest.mark.parametrize("span", WRONG_SPANS, ids=str)
def test_what_is_no_span_is_refused(span: Any) -> None:
    with pytest.raises(TargetError, match="Expected a span"):
        read_span(span)


def test_refusals(config: Any) -> None:
    explainer = Explainer(config(window=10, last=True))
    signal = noise(1, 400)
    for target, categories, message in (
        ({"span": "9:10"}, ["c0"], "outside of what the network sees"),
        ({"span": "all"}, ["c7"], "c7"),
        ({"span": "all", "axes": "tnc"}, ["c0"], "--output-axes"),
        ({"span": "all", "mask": [1]}, ["c0"], "no setting 'mask'"),
    ):
        with pytest.raises(TargetError, match=message):
            explainer(signal, target={"type": "region", **target}, categories=categories)
    with pytest.raises(TargetError, match="--sampling-rate"):
        explainer(noise(1, 400, rate=None), target={"type": "region", "span": "1:2"}, categories=["c0"])
    with pytest.raises(TargetError, match=r"\(1, 40, 3\); expected one score per class; scores of a signal's frames.*--span"):
        explainer(signal)
    with pytest.raises(TargetError, match=r"--span needs scores of each frame.*\(1, 3\)"):
        Explainer(config("Whole"))(signal, target={"type": "region", "span": "all"})


@pytest.mark.parametrize("seed", range(8))
def test_where_frames_look_everywhere_no_axis_is_taken_for_time(config: Any, seed: int) -> None:
    classes = random.Random(seed).choice([2, 3, 4, 5, 40])
    explainer = Explainer(config(window=10, last=bool(seed % 2), classes=0, seed=seed, mixes=True, kwargs={"classes": classes}))
    with pytest.raises(TargetError, match="It cannot be measured"):
        explainer(noise(seed, 400), target={"type": "region", "span": "all"}, categories=[1])


def test_of_a_picture_there_is_no_span() -> None:
    network = load_network(load_config("torchvision/squeezenet1_1"), random_weights=True)
    with pytest.raises(TargetError, match="--span"):
        Explainer(network)(np.zeros((64, 64, 3), np.uint8), target={"type": "region", "span": "all"})
