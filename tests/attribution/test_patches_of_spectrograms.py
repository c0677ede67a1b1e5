"""Networks that cut a spectrogram of their own into patches, as tokens of a transformer: several tokens look at each place in time."""

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolError, ConfigError
from camtool.layouts import TokenRows, Tokens

HOP, WINDOW, FRAMES = 32, 128, 128
LENGTH = HOP * (FRAMES - 1) + 1  # the last frame lies on the last sample, so that a mirrored signal has mirrored frames
RATE, PITCH = 4000, 900.0
PATCH = (16, 8)
ROWS, TIMES = 4, 16


class OfPatches(nn.Module):
    """Scores of a tone's loudness, planted: the loudest patches are attended to most; their loudness is the score of class 0.

    Feature 0 of a token is its patch's loudness, feature 1 marks the class token, feature 2 is what the attention brings.
    """

    def __init__(self, *, time_first: bool = False, class_token: bool = True) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW))
        self.time_first, self.class_token = time_first, class_token
        self.patches = nn.Conv2d(1, 4, PATCH, PATCH, bias=False)
        self.tokens = nn.Identity()
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)
        self.norm = nn.Identity()
        self.head = nn.Linear(4, 2, bias=False)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            self.patches.weight[0] = 4 / (PATCH[0] * PATCH[1])
            queries, keys, values = self.attention.in_proj_weight.split(4)
            queries[0, :2] = 2.0  # of every token, as loud as it is, and of the class token
            keys[0, 0] = 1.0
            values[2, 0] = 1.0
            self.attention.out_proj.weight.copy_(torch.eye(4))
            self.head.weight[0, 2] = 1.0
            self.head.weight[1, 2] = -1.0

    def forward(self, signals: Tensor) -> Tensor:
        waves = torch.stft(signals[:, 0], WINDOW, HOP, window=self.window, return_complex=True)
        features = self.patches(waves.abs().square().log1p().unsqueeze(1)[:, :, :64])
        tokens = (features.mT if self.time_first else features).flatten(2).mT
        if self.class_token:
            marked = torch.zeros_like(tokens[:, :1])
            marked[:, :, 1] = 1.0
            tokens = torch.cat([marked, tokens], dim=1)
        tokens = self.tokens(tokens)
        tokens = self.norm(tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0])
        return self.head(tokens[:, 0] if self.class_token else tokens.mean(dim=1))


def tones(start: int = 2700, end: int = 3100) -> Tensor:
    """Return two signals of faint noise with a tone in a part of them, at a low and a high pitch."""
    signals = 0.05 * torch.randn(2, 1, LENGTH, generator=torch.Generator().manual_seed(3))
    times = torch.arange(start, end) / RATE
    for signal, pitch in zip(signals, (PITCH / 3, PITCH), strict=True):
        signal[:, start:end] += torch.sin(2 * torch.pi * pitch * times)
    return signals


NETWORKS = [(time_first, class_token) for time_first in (False, True) for class_token in (False, True)]
IDS = [f"{'times' if time else 'frequencies'} first, {'class token' if token else 'mean'}" for time, token in NETWORKS]


@pytest.mark.parametrize(("time_first", "class_token"), NETWORKS, ids=IDS)
def test_tokens_are_read_over_time(time_first: bool, class_token: bool) -> None:
    network = OfPatches(time_first=time_first, class_token=class_token).eval()
    layers = {layer.path: str(layer.reading) for layer in CAM(network).probe(tones()[:1]).layers}
    assert layers["patches"] == "NCCW"
    assert layers["tokens"] == f"NLC{' + 1' if class_token else ''}, 4 tokens a place"

    result = CAM(network, "tokens")(tones(), [0, 0])

    assert result.layout_evidence == {"tokens": "measured"}
    order = (1, 0) if time_first else None
    stated = CAM(network, "tokens", layout=TokenRows(rows=ROWS, front=int(class_token), order=order))(tones(), [0, 0])
    assert torch.equal(result.maps, stated.maps)
    # By hand: Grad-CAM of the tokens of each frequency, summed over these.
    tokens: list[Tensor] = []
    handle = network.tokens.register_forward_hook(lambda *arguments: tokens.append(arguments[2]) or arguments[2])
    (gradient,) = torch.autograd.grad(network(tones().requires_grad_())[:, 0].sum(), tokens)
    handle.remove()

    def rows(tensor: Tensor) -> Tensor:
        positions = tensor[:, int(class_token) :]
        return positions.unflatten(1, (TIMES, ROWS)).transpose(1, 2) if time_first else positions.unflatten(1, (ROWS, TIMES))

    expected = (rows(gradient).mean(dim=2, keepdim=True) * rows(tokens[0])).sum(dim=(1, 3))
    torch.testing.assert_close(result.raw["tokens"], expected.detach())


METHODS = [("gradcam", "tokens"), ("layercam", "tokens"), ("scorecam", "tokens"), ("ablationcam", "tokens"), ("gradcam", "patches")]
METHODS += [(name, None) for name in ("rollout", "genericattention", "legrad", "gradrollout")]


@pytest.mark.parametrize(("time_first", "class_token"), NETWORKS, ids=IDS)
@pytest.mark.parametrize(("method", "layer"), METHODS)
def test_the_map_lies_at_the_tone_and_a_mirrored_signal_has_the_mirrored_map(
    method: str, layer: str | None, time_first: bool, class_token: bool
) -> None:
    network = OfPatches(time_first=time_first, class_token=class_token).eval()
    cam = CAM(network, layer, method)
    result, mirrored = cam(tones(), [0, 0]), cam(tones().flip(2), [0, 0])
    (raw,), (raw_of_mirrored,) = result.raw.values(), mirrored.raw.values()
    assert raw.shape == (2, TIMES)
    torch.testing.assert_close(raw_of_mirrored, raw.flip(1), rtol=1e-3, atol=1e-5)
    # The tone, and half a window and a patch beside it, which are a quarter of the time.
    around = slice(2700 - HOP * PATCH[1], 3100 + HOP * PATCH[1])
    share = result.maps[:, around].sum(dim=1) / result.maps.sum(dim=1)
    assert bool((share > 0.75).all()), share  # 0.78 to 0.999


@pytest.mark.parametrize("time_first", [False, True])
@pytest.mark.parametrize("stride", [(16, 8), (10, 4)], ids=["side by side", "overlapping"])
def test_every_layer_of_a_random_transformer_agrees(stride: tuple[int, int], time_first: bool) -> None:
    torch.manual_seed(0)
    network = OfPatches(time_first=time_first).eval()
    network.patches = nn.Conv2d(1, 16, PATCH, stride)
    network.attention, network.head = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 2)
    network.norm = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), 2, enable_nested_tensor=False
    )
    rows, times = ((64 - 16) // stride[0] + 1, (FRAMES - 8) // stride[1] + 1)
    layers = {layer.path: str(layer.reading) for layer in CAM(network).probe(tones()[:1]).layers}
    assert {layers[path] for path in ("tokens", "norm.layers[0].norm2", "norm.layers[1]", "norm")} == {f"NLC + 1, {rows} tokens a place"}
    assert CAM(network, method="rollout")(tones(), [0, 0]).raw["attention"].shape == (2, times)


@pytest.mark.parametrize("order", [None, (1, 0)])
@pytest.mark.parametrize(("axis", "batch_axis"), [(1, 0), (2, 0), (0, 1)])
def test_every_token_lands_at_its_place_and_is_put_back(order: tuple[int, int] | None, axis: int, batch_axis: int) -> None:
    layout = TokenRows(rows=3, front=2, behind=1, axis=axis, batch_axis=batch_axis, order=order)
    tokens = torch.randn(2, 18, 7)  # n, length, c
    tensor = tokens.movedim((0, 1), (batch_axis, axis))
    maps = layout.to_maps(tensor, (100,))
    assert maps.shape == (2, 21, 5)
    assert layout.channel_axes(tensor.shape) == (7, 3)
    for row, time in ((0, 0), (1, 0), (0, 1), (2, 4)):
        token = 2 + (row * 5 + time if order is None else time * 3 + row)
        assert torch.equal(maps.unflatten(1, (7, 3))[:, :, row, time], tokens[:, token])
    assert torch.equal(layout.from_maps(maps, tensor, (100,)), tensor)


def test_what_is_stated_is_checked_in_a_line() -> None:
    network = OfPatches().eval()
    with pytest.raises(CamtoolError, match="65 tokens, 1 in front and 0 behind, are no 7 rows of a grid over that input") as caught:
        CAM(network, "tokens", layout="TokenRows(rows=7,front=1)")(tones(), [0, 0])
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="Expected rows as a whole number, 2 or more, got 1"):
        TokenRows(rows=1)
    for layout in (TokenRows(rows=8, front=1), TokenRows(rows=4, front=1, order=(1, 0)), Tokens(front=1, grid=(64,))):
        with pytest.warns(match="its elements look at the places of NLC \\+ 1, 4 tokens a place, a grid of 16"):
            CAM(network, "tokens", layout=layout)(tones(), [0, 0])
    with pytest.warns(match="the given layout is used, but the tokens of its attention look at other places"):
        CAM(network, method="rollout", layout=TokenRows(rows=4, front=1, order=(1, 0)))(tones(), [0, 0])
    stated = CAM(network, method="rollout", layout="TokenRows(rows=4,front=1,order=0x1)")(tones(), [0, 0])
    assert torch.equal(stated.maps, CAM(network, method="rollout")(tones(), [0, 0]).maps)
    # The number of class tokens alone leaves the rest to the measurement.
    assert CAM(network, "tokens", layout="Tokens(front=1)")(tones(), [0, 0]).raw["tokens"].shape == (2, TIMES)
