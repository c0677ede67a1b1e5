"""The original CAM at layers of every layout: behind a global mean and one linear layer it is Grad-CAM but for a positive factor."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM, deep_feature_factorization
from camtool.errors import MethodError
from camtool.instrumentation.linear_head import find_linear_head
from camtool.layouts import AxisOrder
from tests.networks import CONV, RANKS, SIZES

CHANNELS, CLASSES = 6, 3


class Pooled(nn.Module):
    """A convolution, its output `arranged` in a layout, and a linear layer on the `pooled` arrangement."""

    def __init__(
        self, features: nn.Module, arranged: Callable[[Tensor], Tensor], pooled: Callable[[Tensor], Tensor], inputs: int = CHANNELS
    ) -> None:
        super().__init__()
        self.features, self.arranged, self._arranged, self._pooled = features, nn.Identity(), arranged, pooled
        self.head = nn.Linear(inputs, CLASSES)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self._pooled(self.arranged(self._arranged(self.features(pictures)))))


class Spectrogram(nn.Module):
    """The logarithm of the power of a signal (n, 1, t) in each band of each frame: (n, 1, frequency, time)."""

    def forward(self, signals: Tensor) -> Tensor:
        waves = torch.stft(signals[:, 0], 32, 16, window=torch.hann_window(32), return_complex=True)
        return waves.abs().square().log1p().unsqueeze(1)


def _convolved(rank: int) -> nn.Module:
    return nn.Sequential(CONV[rank](2, CHANNELS, 3, stride=2, padding=1), nn.ReLU())


def _of_spectrogram() -> nn.Module:
    return nn.Sequential(Spectrogram(), nn.Conv2d(1, CHANNELS, 3, stride=(4, 1), padding=1), nn.ReLU())


class ClassToken(nn.Module):
    """A learnt token in front of the tokens (n, length, c)."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, CHANNELS))

    def forward(self, features: Tensor) -> Tensor:
        tokens = features.flatten(2).mT
        return torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _spatially(tensor: Tensor) -> Tensor:
    return tensor.flatten(2).mean(dim=2)


FREQUENCIES = 5
NETWORKS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    **{f"{rank}-D": lambda rank=rank: (Pooled(_convolved(rank), _same, _spatially), (2, *SIZES[rank])) for rank in RANKS},
    **{
        f"{rank}-D, channels last": lambda rank=rank: (
            Pooled(_convolved(rank), lambda maps: maps.movedim(1, -1), lambda maps: maps.flatten(1, -2).mean(dim=1)),
            (2, *SIZES[rank]),
        )
        for rank in RANKS
    },
    **{
        f"{rank}-D, columns before rows": lambda rank=rank: (
            Pooled(_convolved(rank), lambda maps: maps.transpose(2, 3), lambda maps: maps.flatten(2).mean(dim=2)),
            (2, *SIZES[rank]),
        )
        for rank in (2, 3)
    },
    "tokens": lambda: (Pooled(_convolved(2), lambda maps: maps.flatten(2).mT, lambda tokens: tokens.mean(dim=1)), (2, 16, 16)),
    "tokens behind a class token": lambda: (
        Pooled(nn.Sequential(_convolved(2), ClassToken()), _same, lambda tokens: tokens[:, 1:].mean(dim=1)),
        (2, 16, 16),
    ),
    "tokens before samples": lambda: (
        Pooled(_convolved(2), lambda maps: maps.flatten(2).permute(2, 0, 1), lambda tokens: tokens.mean(dim=0)),
        (2, 16, 16),
    ),
    "spectrogram": lambda: (Pooled(_of_spectrogram(), _same, _spatially), (1, 800)),
    "spectrogram, time first": lambda: (Pooled(_of_spectrogram(), lambda maps: maps.mT, _spatially), (1, 800)),
    "spectrogram, every frequency": lambda: (
        Pooled(_of_spectrogram(), _same, lambda maps: maps.mean(dim=3).flatten(1), CHANNELS * FREQUENCIES),
        (1, 800),
    ),
    "spectrogram, every frequency, channels last": lambda: (
        Pooled(_of_spectrogram(), _same, lambda maps: maps.mean(dim=3).mT.flatten(1), CHANNELS * FREQUENCIES),
        (1, 800),
    ),
    "spectrogram, the frequencies alone": lambda: (
        Pooled(_of_spectrogram(), _same, lambda maps: maps.mean(dim=(1, 3)), FREQUENCIES),
        (1, 800),
    ),
    "bands of a picture": lambda: (
        Pooled(nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv3d(1, CHANNELS, 3, padding=1), nn.ReLU()), _same, _spatially),
        (6, 24, 20),
    ),
}


def _network(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model, shape = NETWORKS[name]()
    return model.eval(), torch.randn(2, *shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.filterwarnings("ignore:.*no positive evidence")
@pytest.mark.parametrize("name", NETWORKS)
def test_cam_is_grad_cam_but_for_a_positive_factor(name: str) -> None:
    model, inputs = _network(name)
    results = CAM(model, "arranged", ["cam", "gradcam"])(inputs, [[0, 2]] * 2)
    raw, of_gradients = (results[method].raw["arranged"] for method in ("cam", "gradcam"))
    # The gradient of a mean is the weight divided by the number of positions.
    torch.testing.assert_close(raw, of_gradients * raw[0, 0].numel(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(results["cam"].maps, results["gradcam"].maps, rtol=1e-4, atol=1e-4)
    scores = raw.flatten(2).mean(dim=2) + model.head.bias[[0, 2]].detach()
    torch.testing.assert_close(scores, results["cam"].logits[:, [0, 2]], rtol=1e-3, atol=1e-4)


LAYOUTS: list[Any] = [AxisOrder(axes="NCCW"), lambda maps: maps.flatten(1, 2), lambda maps: maps.transpose(1, 2).flatten(1, 2)]


@pytest.mark.filterwarnings("ignore:.*no positive evidence")
@pytest.mark.parametrize("layout", LAYOUTS, ids=["axes", "function", "function, frequencies first"])
def test_a_stated_layout_is_no_different(layout: Any) -> None:
    model, inputs = _network("spectrogram")
    expected = CAM(model, "arranged", "cam")(inputs, [0, 1])
    found = CAM(model, "arranged", "cam", layout=layout)(inputs, [0, 1])
    torch.testing.assert_close(found.raw["arranged"], expected.raw["arranged"])


def test_a_named_layer_behind_a_norm_is_read_like_one_that_is_found() -> None:
    model, inputs = _network("spectrogram")
    expected = CAM(model, "arranged", "cam")(inputs, [0, 1])
    assert torch.equal(CAM(model, "arranged", "cam(classifier=head)")(inputs, [0, 1]).raw["arranged"], expected.raw["arranged"])
    pooled = model._pooled
    model._pooled = lambda maps: 2 * pooled(maps) + 1
    with pytest.raises(MethodError, match="or name the linear layer whose weights you mean"):
        CAM(model, "arranged", "cam")(inputs, [0, 1])
    with pytest.warns(match="something lies between"):
        found = CAM(model, "arranged", "cam(classifier=head)")(inputs, [0, 1])
    assert torch.equal(found.raw["arranged"], expected.raw["arranged"])


def test_a_named_layer_of_other_channels_is_refused_by_both_axes() -> None:
    model, inputs = _network("spectrogram")
    model.other = nn.Linear(7, CLASSES)
    with pytest.raises(MethodError, match="from the target layer's 6x5 channels to the 3 scores, got 'other', from 7 to 3"):
        CAM(model, "arranged", "cam(classifier=other)")(inputs, [0, 1])


def test_channels_that_are_one_axis_are_not_taken_for_several() -> None:
    # Six channels in an order of their own are as many numbers as 2x3: chance would find an order for one score.
    head, activations = nn.Linear(6, 2), torch.rand(1, 6, 4)
    logits = head(activations.mean(dim=2).view(1, 2, 3).mT.flatten(1)).detach()
    with pytest.raises(MethodError):
        find_linear_head(head, activations, logits)
    found = find_linear_head(head, activations, logits, channel_axes=(2, 3))
    torch.testing.assert_close(activations.mean(dim=2) @ found.weight.T + found.bias, logits)


def test_a_function_that_does_more_than_rearrange_has_channels_of_one_axis() -> None:
    model, inputs = _network("spectrogram")
    result = CAM(model, "arranged", "cam", layout=lambda maps: maps.mean(dim=2))(inputs, [0, 1])
    expected = CAM(model, "arranged", "cam")(inputs, [0, 1])
    torch.testing.assert_close(result.raw["arranged"], expected.raw["arranged"])


def test_concepts_of_a_spectrogram_have_scores() -> None:
    model, inputs = _network("spectrogram")
    concepts = deep_feature_factorization(model, inputs, 2, target_layer="arranged", iterations=2000)
    vectors = concepts.vectors.unflatten(1, (CHANNELS, FREQUENCIES)).mean(dim=2)
    torch.testing.assert_close(concepts.scores, model.head(vectors).detach())


def test_a_function_that_turns_time_round_is_warned_of() -> None:
    model, inputs = _network("spectrogram")
    with pytest.warns(match="its elements look at the places of NCCW"):
        CAM(model, "arranged", "cam", layout=lambda maps: maps.flip(3).flatten(1, 2))(inputs, [0, 1])
