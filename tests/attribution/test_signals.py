"""Networks of signals: kernels (k, 1) are those of one axis, recurrent ones are explained, and maps lie where a record's events are."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.io.signals import SignalReading, read_signal
from camtool.models.sources.signal_preprocessing import SignalPreprocess
from tests.networks import CONV, GAP

METHODS = ["gradcam", "gradcam++", "layercam", "eigencam", "scorecam", "occlusion", "saliency", "integratedgradients"]


class Bursts(nn.Module):
    """One logit for the mean of a filter's output, whose weights are an oscillation; convolutions of one axis, or of kernels (k, 1)."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.features = nn.Sequential(CONV[rank](2, 4, (9, 1)[:rank], stride=(2, 1)[:rank], padding=(4, 0)[:rank], bias=False), nn.ReLU())
        self.pool, self.fc = GAP[rank](1), nn.Linear(4, 2)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.rand(parameter.numel(), generator=generator).view(parameter.shape))
            wave = torch.tensor([1.0, -1.0] * 4 + [1.0])
            self.features[0].weight.mul_(0.1).add_(wave.view(9, *[1] * (rank - 1)))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc(self.pool(self.features(inputs)).flatten(1))


class Recurrent(nn.Module):
    """Convolutions, a recurrent layer over their time, a linear layer over its mean."""

    def __init__(self, kind: type[nn.RNNBase], *, both: bool) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(2, 8, 5, 2, 2), nn.ReLU(), nn.Conv1d(8, 12, 5, 2, 2), nn.ReLU())
        self.rnn = kind(12, 16, batch_first=True, bidirectional=both)
        self.fc = nn.Linear(16 * (1 + both), 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden, _ = self.rnn(self.conv(inputs).transpose(1, 2))
        return self.fc(hidden.mean(dim=1))


@pytest.mark.parametrize("method", METHODS)
def test_kernels_of_one_axis_of_two_have_the_maps_of_one_axis(method: str) -> None:
    inputs = torch.randn(2, 2, 64, generator=torch.Generator().manual_seed(1))
    of_one, of_two = Bursts(1).eval(), Bursts(2).eval()
    patches = ("(patch=8,stride=4)", "(patch=8x1,stride=4x1)") if method == "occlusion" else ("", "")
    expected = CAM(of_one, method=method + patches[0])(inputs, [0, 1]).maps
    found = CAM(of_two, method=method + patches[1])(inputs[..., None], [0, 1]).maps
    assert found.shape == (*expected.shape, 1)
    torch.testing.assert_close(found[..., 0], expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0


@pytest.mark.filterwarnings("ignore:.*no positive evidence:camtool.errors.CamtoolWarning")  # of some of its random weights
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layer", ["conv", "rnn"])
def test_recurrent_networks_are_explained_at_convolutions_and_at_the_recurrent_layer(
    kind: type[nn.RNNBase], both: bool, layer: str
) -> None:
    torch.manual_seed(0)
    model = Recurrent(kind, both=both).eval()
    inputs = torch.randn(2, 2, 128)
    result = CAM(model, method=["gradcam", "layercam", "occlusion(patch=16,stride=16)"], target_layers=layer)(inputs, [0, 1])
    for one in result.values():
        assert one.maps.shape == (2, 128)
        for raw in one.raw.values():
            assert torch.isfinite(raw).all()
            assert (raw.std(dim=1) > 0).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spec", [{}, {"rate": 100.0}, {"rate": 100.0, "length": 700, "align": "centre"}, {"shape": "ct1"}])
def test_from_a_file_to_the_record_the_map_lies_at_the_burst(tmp_path: Path, seed: int, spec: dict[str, object]) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.05, (2, 1800))
    rate, start = 250.0, 2.0
    place = int(rng.integers(700, 1300))
    new = float(spec.get("rate", rate))  # type: ignore[arg-type]
    times = np.arange(1800) / rate
    # An oscillation of the network's filter: half a period a sample of the network, a little slower so that resampling keeps it.
    values += np.exp(-(((times - times[place]) * new / 8) ** 2)) * np.cos(np.pi * 0.8 * new * (times - times[place]))
    rows = "\n".join(f"{10 + time:.4f},{one:.6f},{two:.6f}" for time, one, two in zip(times, *values, strict=True))
    (tmp_path / "x.csv").write_text(f"time,I,II\n{rows}\n")
    signal = read_signal(tmp_path / "x.csv", SignalReading(start=10 + start))
    preprocess = SignalPreprocess(spec)
    model = Bursts(2 if spec.get("shape") else 1).eval()
    result = CAM(model, method="gradcam")(preprocess(signal), [0])
    saliency = preprocess.to_signal(result.maps[0].numpy(), signal)
    found = signal.times[np.nanargmax(saliency)]
    assert abs(found - (10 + times[place])) <= 8 / new  # the filter's length


class Sequential1d(nn.Module):
    """Convolutions, a recurrent layer, and a head that reads `pool` of its states."""

    def __init__(self, kind: type[nn.RNNBase], pool: str, stride: int, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(2, 8, 9, stride, padding=4), nn.BatchNorm1d(8), nn.ReLU())
        self.rnn = kind(8, 10, batch_first=True, **options)
        self.dropout = nn.Dropout()
        self.norm = nn.LayerNorm(10 * (1 + self.rnn.bidirectional))
        self.head = nn.Linear(self.norm.normalized_shape[0], 3)
        self.pool = pool

    def forward(self, signals: Tensor) -> Tensor:
        states = self.norm(self.dropout(self.rnn(self.conv(signals).mT)[0]))
        if self.pool == "ends":
            return self.head((states[:, 0] + states[:, -1]) / 2)
        return self.head(states[:, -1] if self.pool == "last" else states.mean(1))


class Patches(nn.Module):
    """A transformer over patches of a signal, with `extra` tokens in front, of which the head reads the first; 0: the mean of all."""

    def __init__(self, patch: int, patches: int, extra: int, depth: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(2, 16, patch, patch)
        self.first = nn.Parameter(torch.randn(1, extra, 16))
        self.places = nn.Parameter(torch.randn(1, extra + patches, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def tokens(self, signals: Tensor) -> Tensor:
        return torch.cat([self.first.expand(len(signals), -1, -1), self.embed(signals).mT], dim=1) + self.places

    def forward(self, signals: Tensor) -> Tensor:
        states = self.encoder(self.tokens(signals))
        return self.head(states[:, 0] if self.first.shape[1] else states.mean(1))


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("extra", [0, 1])
def test_attention_over_a_signal_is_that_of_its_patches_without_the_class_token(seed: int, extra: int) -> None:
    draw = random.Random(seed)
    torch.manual_seed(seed)
    patch, patches, depth = draw.choice([8, 10, 20]), draw.randint(20, 64), draw.randint(1, 3)
    model = Patches(patch, patches, extra, depth).eval()
    signals = 0.05 * torch.randn(1, 2, patch * patches)
    signals[..., patch * patches // 3 : patch * patches // 2] += 1
    result = CAM(model, method="rollout")(signals, [0])
    (raw,) = result.raw.values()
    tokens, product = model.tokens(signals), torch.eye(extra + patches)
    for layer in model.encoder.layers:
        normed = layer.norm1(tokens)
        product = (layer.self_attn(normed, normed, normed)[1][0] + torch.eye(len(product))) / 2 @ product
        tokens = layer(tokens)
    expected = product[0, extra:] if extra else product.mean(0)
    torch.testing.assert_close(raw[0], expected.detach(), rtol=1e-4, atol=1e-6)


def sequential(seed: int, pool: str) -> tuple[nn.Module, Tensor, int]:
    """Return a random network, an input with long silent parts, and how many steps its recurrent layer has."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    stride, steps = draw.choice([2, 4, 5]), draw.randint(20, 90)
    options = {"num_layers": draw.choice([1, 2]), "bidirectional": draw.random() < 0.3}
    model = Sequential1d(draw.choice([nn.LSTM, nn.GRU, nn.RNN]), pool, stride, **options)
    values = 0.05 * torch.randn(2, 2, stride * steps)
    values[:, :, stride * (steps // 4) : stride * (steps // 4 + 3)] += 4
    return model.eval(), values, steps


@pytest.mark.parametrize("seed", range(12))
def test_every_step_of_a_recurrent_layer_is_a_position_also_one_that_the_record_leaves_silent(seed: int) -> None:
    model, values, steps = sequential(seed, "mean")
    for layer in CAM(model).probe(values).layers:
        if layer.path in ("rnn", "dropout", "norm"):
            assert layer.grid == (steps,), layer.path


@pytest.mark.filterwarnings("ignore:.*no positive evidence:camtool.errors.CamtoolWarning")  # of some of its random weights
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pool", ["last", "ends", "mean"])
def test_the_default_layer_is_none_whose_last_step_alone_is_read(seed: int, pool: str) -> None:
    model, values, steps = sequential(seed, pool)
    result = CAM(model, method=["gradcam", "layercam", "gradcam++", "scorecam"])(values, [0, 1])
    (layer,) = result["gradcam"].layers
    assert layer.startswith("norm" if pool == "mean" else "conv"), layer
    for method, one in result.items():
        (raw,) = one.raw.values()
        assert raw.shape == (2, steps)
        if "no positive evidence" not in one.status[0]:
            assert int((raw[0] != 0).sum()) > 2, method  # more than the ends
