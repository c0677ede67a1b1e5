"""The full-gradient decomposition: what each bias adds, and that nothing is missing."""

from collections.abc import Sequence
from functools import partial

import pytest
import torch
import torchvision
from timm.layers.norm_act import BatchNormAct2d, FrozenBatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn

from camtool.instrumentation.bias_gradients import BiasRecorder, BiasTerm, bias_of
from camtool.layouts import fit_layout
from tests.methods.test_no_trace import assert_same, state
from tests.networks import CONV, NORM, RANKS, SIZES, images, small_net


def decomposed(model: nn.Module, inputs: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor, list[BiasTerm]]:
    """Return (scores, input times gradient, bias terms)."""
    leaf = inputs.clone().requires_grad_()
    fit = partial(fit_layout, batch=len(inputs), input_size=inputs.shape[2:])
    with BiasRecorder(model, lambda tensor, _: fit(tensor), len(inputs), inputs.shape[2:]) as recorder:
        logits = model(leaf.clone())
    scores = logits[torch.arange(len(inputs)), list(classes)]
    gradient, terms = recorder.terms(scores.sum(), leaf)
    return scores.detach(), inputs * gradient, terms


def summed(products: Tensor, terms: list[BiasTerm]) -> Tensor:
    return products.flatten(1).sum(dim=1) + torch.stack([term.total for term in terms]).sum(dim=0)


@pytest.mark.parametrize("rank", RANKS)
def test_input_and_biases_sum_to_the_score(rank: int) -> None:
    model, inputs = small_net(rank, double=True), images(rank, double=True)
    scores, products, terms = decomposed(model, inputs, [1, 3])
    torch.testing.assert_close(summed(products, terms), scores, rtol=1e-10, atol=1e-12)
    assert [(term.path, term.maps is not None) for term in terms] == [
        ("early[0]", True),
        ("early[1]", True),
        ("late[0]", True),
        ("late[1]", True),
        ("fc", False),
    ]
    assert products.flatten(1).sum(dim=1).abs().amin() > 1e-3  # neither part is nothing
    assert all(term.total.abs().amax() > 1e-6 for term in terms)


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "squeezenet1_0", "densenet121"])
def test_input_and_biases_sum_to_the_score_of_whole_networks(name: str) -> None:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.uniform_(module.bias, -0.2, 0.2)
    scores, products, terms = decomposed(model, torch.randn(2, 3, 64, 64, dtype=torch.float64), [5, 9])
    torch.testing.assert_close(summed(products, terms), scores, rtol=1e-8, atol=1e-8)


def test_biases_of_tokens_count_with_their_extra_tokens_and_their_maps_leave_these_out() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(2, 6, 4, stride=4)
            self.mlp = nn.Linear(6, 6)
            self.head = nn.Linear(6, 3)

        def forward(self, image: Tensor) -> Tensor:
            tokens = self.patches(image).flatten(2).transpose(1, 2)
            tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
            return self.head(self.mlp(tokens).relu().mean(dim=1))

    torch.manual_seed(0)
    inputs = torch.randn(2, 2, 16, 16, dtype=torch.float64)
    scores, products, terms = decomposed(Tokens().double(), inputs, [0, 2])
    torch.testing.assert_close(summed(products, terms), scores, rtol=1e-10, atol=1e-12)
    maps = {term.path: term.maps for term in terms}
    assert maps["mlp"] is not None
    assert maps["mlp"].shape == (2, 6, 4, 4)
    assert maps["head"] is None


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("rank", RANKS)
def test_the_bias_of_a_batch_norm_is_what_it_makes_of_zero(rank: int, affine: bool) -> None:
    norm = NORM[rank](3, affine=affine).double().eval()
    nn.init.uniform_(norm.running_mean, -1, 1)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    if affine:
        nn.init.uniform_(norm.weight, -1, 1)
        nn.init.uniform_(norm.bias, -1, 1)
    of_zero = norm(torch.zeros(1, 3, *[1] * rank, dtype=torch.float64)).flatten().detach()
    torch.testing.assert_close(bias_of(norm), of_zero)


def test_layers_that_add_nothing_have_no_bias() -> None:
    assert bias_of(CONV[2](1, 2, 3, bias=False)) is None
    assert bias_of(nn.Linear(2, 2, bias=False)) is None
    assert bias_of(nn.ReLU()) is None
    assert bias_of(nn.BatchNorm2d(2, track_running_stats=False, affine=False)) is None


def test_a_layer_called_twice_has_two_terms_and_one_beside_the_road_none() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Conv2d(2, 2, 3, padding=1)
            self.beside = nn.Conv2d(2, 2, 1)
            self.head = nn.Linear(2, 2)

        def forward(self, image: Tensor) -> Tensor:
            once = self.shared(image).relu_()
            self.beside(once)
            return self.head(self.shared(once).mean(dim=(2, 3)))

    torch.manual_seed(0)
    inputs = images(double=True)
    scores, products, terms = decomposed(Twice().double(), inputs, [0, 1])
    assert [term.path for term in terms] == ["shared", "shared", "head"]
    torch.testing.assert_close(summed(products, terms), scores, rtol=1e-10, atol=1e-12)


def test_recording_leaves_no_trace_also_after_an_exception() -> None:
    model = small_net()
    before = state(model)
    decomposed(model, images(), [0, 1])
    assert_same(before, state(model))
    recorder = BiasRecorder(model, lambda tensor, _: fit_layout(tensor, 2, SIZES[2]), 2, SIZES[2])
    with pytest.raises(RuntimeError), recorder:
        model(torch.zeros(2, 7, 4, 4))
    assert_same(before, state(model))


class _FusedNorm(nn.BatchNorm2d):
    """A batch norm with its activation inside."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps).relu_()


class _OwnNorm(nn.Module):
    """A batch norm with its activation inside, as a function, of no class of torch's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(channels) + 0.5), nn.Parameter(torch.randn(channels))
        self.register_buffer("running_mean", torch.randn(channels))
        self.register_buffer("running_var", torch.rand(channels) + 0.5)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.nn.functional.batch_norm(maps, self.running_mean, self.running_var, self.weight, self.bias).relu()


class _FusedConvolution(nn.Conv2d):
    """A convolution with its activation inside."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps).relu()


class _FunctionalConvolution(nn.Module):
    """A convolution called as a function, with the activation behind it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kernel, self.shift = nn.Parameter(torch.randn(channels, channels, 1, 1)), nn.Parameter(torch.randn(channels))

    def forward(self, maps: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(maps, self.kernel, bias=self.shift).relu()


class _FusedLinear(nn.Linear):
    """A linear layer over the channels with its activation inside."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.movedim(1, -1)).relu().movedim(-1, 1)


def _frozen(channels: int) -> nn.Module:
    norm = FrozenBatchNormAct2d(channels)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.uniform_(tensor, -1, 1)
    return norm


FUSED = {
    "timm's": BatchNormAct2d,
    "timm's, not in place": partial(BatchNormAct2d, inplace=False),
    "timm's, frozen": _frozen,
    "timm's, of several devices": lambda channels: convert_sync_batchnorm(BatchNormAct2d(channels)),
    "a subclass": _FusedNorm,
    "a function": _OwnNorm,
    "of a sample": lambda channels: nn.InstanceNorm2d(channels, affine=True, track_running_stats=True),
    "a convolution": lambda channels: _FusedConvolution(channels, channels, 3, padding=1),
    "a functional convolution": _FunctionalConvolution,
    "a transposed convolution": lambda channels: nn.Sequential(nn.ConvTranspose2d(channels, channels, 2, stride=2), nn.ReLU()),
    "a linear layer": lambda channels: _FusedLinear(channels, channels),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", FUSED)
def test_input_and_biases_sum_to_the_score_where_layers_have_their_activation_inside(kind: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False),
        FUSED[kind](6),
        nn.Conv2d(6, 6, 3),
        FUSED[kind](6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    ).double()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d)):
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.uniform_(tensor, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    scores, products, terms = decomposed(model.eval(), torch.randn(2, 3, 12, 12, dtype=torch.float64), [1, 3])
    torch.testing.assert_close(summed(products, terms), scores, rtol=1e-9, atol=1e-10)
    assert len(terms) == 4  # nothing twice
    assert kind == "a linear layer" or [term.maps is not None for term in terms] == [True, True, True, False]
