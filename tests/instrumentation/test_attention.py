"""The recorder: fused and unfused attention alike, with gradient, on the way to the output, and nothing left behind."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from camtool.errors import MethodError
from camtool.instrumentation.activations import Capture
from camtool.instrumentation.attention import AttentionRecorder
from camtool.layouts import Tokens
from camtool.targets import find_logits
from tests.methods.test_no_trace import UsersError, assert_same, state
from tests.transformers import FAMILIES, picture, timm_vit, torch_encoder, torchvision_vit

HEADS, LENGTH, WIDTH = 4, 6, 8


def size_for(family: str) -> tuple[int, int]:
    return (64, 64) if "MViT" in family else (32, 32)


@torch.no_grad()
def plain(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the logits as the network gives them by itself, fast paths included."""
    return find_logits(model(inputs), len(inputs))


@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_attention_reproduces_the_networks_own_output(family: str) -> None:
    model, inputs = FAMILIES[family](), picture(size=size_for(family))
    with AttentionRecorder(model) as recorder:
        logits = find_logits(model(inputs), len(inputs))
    torch.testing.assert_close(logits.detach(), plain(model, inputs), rtol=1e-5, atol=1e-5)
    # Every weight is a probability, made of its scores, and on the way to the output: all of them have a gradient.
    gradients = torch.autograd.grad(logits.sum(), [record.weights for record in recorder.records])
    assert len(recorder.records) >= 3
    for record, gradient in zip(recorder.records, gradients, strict=True):
        torch.testing.assert_close(record.scores.softmax(dim=-1), record.weights.detach())
        assert (gradient != 0).any()
        assert model.get_submodule(record.path.replace("[", ".").replace("]", ""))


@pytest.mark.parametrize("family", ["mmpretrain ViT", "timm ViT, unfused", "torchvision ViT", "nn.TransformerEncoder"])
def test_gradients_are_those_of_finite_differences(family: str) -> None:
    model, inputs = FAMILIES[family]().double(), picture(count=1).double()
    with AttentionRecorder(model) as recorder:
        score = find_logits(model(inputs), 1)[0, 1]
    gradients = torch.autograd.grad(score, [record.weights for record in recorder.records])
    for layer, gradient in enumerate(gradients):
        place = tuple(int(index) for index in torch.unravel_index(gradient.abs().argmax(), gradient.shape))
        shifted = [shifted_score(model, inputs, layer, place, step) for step in (1e-4, -1e-4)]
        assert (shifted[0] - shifted[1]) / 2e-4 == pytest.approx(gradient[place].item(), rel=1e-5)


def shifted_score(model: nn.Module, inputs: Tensor, layer: int, place: tuple[int, ...], step: float) -> float:
    """Return the score when one weight of one layer is another; `Recorder._keep` is where weights can be changed."""
    recorder = AttentionRecorder(model)
    keep = recorder._keep

    def changing(scores: Tensor, weights: Tensor) -> Tensor:
        if len(recorder.records) == layer:
            weights = weights.clone()
            weights[place] += step
        return keep(scores, weights)

    recorder._keep = changing  # type: ignore[method-assign]
    with recorder:
        return find_logits(model(inputs), 1)[0, 1].item()


def tensors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Fused(nn.Module):
    """One call of the fused kernel."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, **self.options)


BLIND = torch.ones(LENGTH, LENGTH + 1, dtype=torch.bool).tril()
BLIND[2] = False
SDPA = {
    "plain": {},
    "scale": {"scale": 0.7},
    "causal": {"is_causal": True},
    "float mask": {"attn_mask": tensors(LENGTH, LENGTH + 1, seed=9)},
    "mask by head": {"attn_mask": tensors(2, HEADS, LENGTH, LENGTH + 1, seed=9)},
    "bool mask": {"attn_mask": torch.ones(LENGTH, LENGTH + 1, dtype=torch.bool).tril()},
    "bool mask that hides everything from one query": {"attn_mask": BLIND},
}


@pytest.mark.parametrize("case", SDPA)
def test_explicit_product_equals_the_fused_kernel(case: str) -> None:
    layer = Fused(**SDPA[case])
    arguments = tensors(2, HEADS, LENGTH, WIDTH), tensors(2, HEADS, LENGTH + 1, WIDTH, seed=1), tensors(2, HEADS, LENGTH + 1, 5, seed=2)
    expected = layer(*arguments)
    with AttentionRecorder(layer) as recorder:
        actual = layer(*arguments)
    torch.testing.assert_close(actual.detach(), expected, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(actual.square().sum(), recorder.records[0].weights)
    assert gradient.isfinite().all()
    assert recorder.records[0].weights.shape == (2, HEADS, LENGTH, LENGTH + 1)


def test_a_query_that_may_see_nothing_has_no_gradient_that_is_nan() -> None:
    first, second = Fused(), Fused(attn_mask=BLIND[:, :LENGTH])
    tokens = tensors(2, HEADS, LENGTH, WIDTH)
    with AttentionRecorder(nn.Sequential(first, second)) as recorder:
        mixed = first(tokens, tokens, tokens)
        (gradient,) = torch.autograd.grad(second(mixed, mixed, mixed).square().sum(), recorder.records[0].weights)
    assert gradient.isfinite().all()
    assert (gradient != 0).any()


def test_grouped_queries_equal_the_fused_kernel() -> None:
    layer = Fused(enable_gqa=True)
    arguments = tensors(2, HEADS, LENGTH, WIDTH), tensors(2, 2, LENGTH, WIDTH, seed=1), tensors(2, 2, LENGTH, WIDTH, seed=2)
    expected = layer(*arguments)
    with AttentionRecorder(layer) as recorder:
        torch.testing.assert_close(layer(*arguments).detach(), expected, rtol=1e-5, atol=1e-6)
    assert recorder.records[0].weights.shape == (2, HEADS, LENGTH, LENGTH)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_keep_their_type_and_have_wide_weights(dtype: torch.dtype) -> None:
    layer = Fused()
    arguments = [tensors(2, HEADS, LENGTH, WIDTH, seed=seed).to(dtype) for seed in range(3)]
    expected = layer(*arguments)
    with AttentionRecorder(layer) as recorder:
        actual = layer(*arguments)
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.detach(), expected, rtol=3 * torch.finfo(dtype).eps, atol=2 * torch.finfo(dtype).eps)
    assert recorder.records[0].weights.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_autocast_gives_the_type_that_it_gives_the_fused_kernel() -> None:
    layer = Fused()
    arguments = [tensors(2, HEADS, LENGTH, WIDTH, seed=seed) for seed in range(3)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = layer(*arguments)
        with AttentionRecorder(layer):
            actual = layer(*arguments)
    assert actual.dtype == expected.dtype
    torch.testing.assert_close(actual.detach(), expected, rtol=2e-2, atol=1e-2)


def test_dropout_of_a_network_in_eval_mode_is_left_out() -> None:
    layer = Fused(dropout_p=0.5)
    arguments = [tensors(2, HEADS, LENGTH, WIDTH, seed=seed) for seed in range(3)]
    with AttentionRecorder(layer):
        torch.testing.assert_close(layer(*arguments).detach(), Fused()(*arguments), rtol=1e-5, atol=1e-6)


SELF = {
    "batch first": ({"batch_first": True}, {}),
    "length first": ({}, {}),
    "no bias": ({"bias": False}, {}),
    "weights averaged": ({}, {"need_weights": True}),
    "weights by head": ({}, {"need_weights": True, "average_attn_weights": False}),
    "added bias and zero": ({"add_bias_kv": True, "add_zero_attn": True}, {}),
    "bool mask": ({}, {"attn_mask": torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)}),
    "causal": ({}, {"attn_mask": torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1), "is_causal": True}),
    "mask by head": ({}, {"attn_mask": tensors(2 * HEADS, LENGTH, LENGTH, seed=8)}),
    "padding": ({"add_zero_attn": True}, {"key_padding_mask": torch.tensor([[False] * LENGTH, [False] * 4 + [True] * 2])}),
    "float padding and mask": ({}, {"key_padding_mask": tensors(2, LENGTH, seed=7), "attn_mask": tensors(LENGTH, LENGTH, seed=8)}),
}


@pytest.mark.parametrize("case", SELF)
def test_multihead_attention_equals_its_own_paths(case: str) -> None:
    options, arguments = SELF[case]
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(WIDTH, HEADS, **options).eval()
    tokens = tensors(2, LENGTH, WIDTH) if options.get("batch_first") else tensors(LENGTH, 2, WIDTH)
    arguments = {"need_weights": False, **arguments}
    with torch.no_grad():
        expected, weights = layer(tokens, tokens, tokens, **arguments)
    with AttentionRecorder(layer) as recorder:
        actual, again = layer(tokens, tokens, tokens, **arguments)
    torch.testing.assert_close(actual.detach(), expected, rtol=1e-5, atol=1e-6)
    keys = LENGTH + int("add_bias_kv" in options) + int("add_zero_attn" in options)
    assert recorder.records[0].weights.shape == (2, HEADS, LENGTH, keys)
    if weights is None:
        assert again is None
    else:
        torch.testing.assert_close(again.detach(), weights, rtol=1e-5, atol=1e-6)


def test_multihead_attention_with_keys_and_values_of_other_widths_and_without_a_batch() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(WIDTH, HEADS, kdim=3, vdim=5).eval()
    for arguments in (
        (tensors(LENGTH, 2, WIDTH), tensors(4, 2, 3), tensors(4, 2, 5)),
        (tensors(LENGTH, WIDTH), tensors(4, 3), tensors(4, 5)),
    ):
        expected, weights = layer(*arguments)
        with AttentionRecorder(layer):
            actual, again = layer(*arguments)
        torch.testing.assert_close(actual.detach(), expected.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(again.detach(), weights.detach(), rtol=1e-5, atol=1e-6)


def test_a_transformer_encoder_with_padding_leaves_its_nested_tensors_by_itself() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    tokens, padding = tensors(2, LENGTH, WIDTH), torch.tensor([[False] * LENGTH, [False] * 4 + [True] * 2])
    with torch.no_grad(), pytest.warns(UserWarning, match="nested tensors"):
        expected = encoder(tokens, src_key_padding_mask=padding)
    with AttentionRecorder(encoder) as recorder:
        actual = encoder(tokens, src_key_padding_mask=padding).detach()
    assert len(recorder.records) == 2
    torch.testing.assert_close(actual[~padding], expected[~padding], rtol=1e-5, atol=1e-5)  # the fast path puts zeros where padding is


class Softmaxes(nn.Module):
    """Every way to ask for a softmax, and some that are no attention."""

    def __init__(self) -> None:
        super().__init__()
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, scores: Tensor) -> list[Tensor]:
        gates = [torch.softmax(scores, 1), F.softmax(scores, dim=-2), scores[0, 0].softmax(-1), scores[..., 0].mean(1).softmax(-1)]
        ways = [self.softmax(scores), torch.softmax(scores, -1), torch.softmax(input=scores, dim=-1), F.softmax(scores, dim=3)]
        return [*ways, scores.softmax(dim=-1), F.softmax(scores, -1, dtype=torch.float64), *gates]


def test_every_softmax_over_keys_is_attention_and_gates_are_not() -> None:
    model = nn.ModuleDict({"attention": Softmaxes()})
    with AttentionRecorder(model) as recorder:
        model["attention"](tensors(2, HEADS, LENGTH, LENGTH))
    assert [record.path for record in recorder.records] == ["attention"] * 6  # of nn.Softmax, too: it is a part
    assert len({record.call for record in recorder.records}) == 1


def test_weights_changed_in_place_by_the_network_are_recorded_as_they_were() -> None:
    class InPlace(nn.Module):
        def forward(self, scores: Tensor) -> Tensor:
            return scores.softmax(dim=-1).mul_(0.5)

    scores = tensors(2, HEADS, LENGTH, LENGTH)
    with AttentionRecorder(InPlace()) as recorder:
        InPlace()(scores)
    torch.testing.assert_close(recorder.records[0].weights.detach(), scores.softmax(dim=-1))


def test_nothing_upstream_of_the_first_attention_has_a_graph() -> None:
    model = torchvision_vit()
    seen: list[bool] = []
    for layer in list(model.encoder.layers)[:2]:
        layer.ln_1.register_forward_hook(lambda *call: seen.append(call[2].requires_grad))
    with AttentionRecorder(model) as recorder:
        model(picture())
    assert seen == [False, True]
    assert recorder.records[0].weights.is_leaf
    assert not recorder.records[1].weights.is_leaf


def tokens(tensor: Tensor, path: str, *, index: int = 0) -> Tokens:
    return Tokens()


@pytest.mark.parametrize("layer", ["encoder.layers.encoder_layer_0.ln_1", "encoder.layers.encoder_layer_2.ln_1"])
def test_recorder_and_capture_work_in_one_forward_pass(layer: str) -> None:
    model, inputs = torchvision_vit(), picture()
    with AttentionRecorder(model) as alone:
        expected = torch.autograd.grad(model(inputs)[:, 1].sum(), [record.weights for record in alone.records])
    with Capture({layer: model.get_submodule(layer)}, tokens, differentiate=True) as capture:
        with AttentionRecorder(model) as recorder:
            score = model(inputs)[:, 1].sum()
        activations, _ = capture.activations(layer)
    found = torch.autograd.grad(score, [*(record.weights for record in recorder.records), activations])
    for gradient, wanted in zip(found[:-1], expected, strict=True):
        torch.testing.assert_close(gradient, wanted)
    with Capture({layer: model.get_submodule(layer)}, tokens, differentiate=True) as capture:
        score = model(inputs)[:, 1].sum()
    torch.testing.assert_close(found[-1], torch.autograd.grad(score, capture.activations(layer)[0])[0], rtol=1e-4, atol=1e-5)


def modes() -> int:
    return torch._C._len_torch_function_stack()


class Counting(TorchFunctionMode):
    """A mode of the caller's own."""

    calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("make", [timm_vit, torchvision_vit, torch_encoder])
def test_nothing_is_left_behind(make: Callable[[], nn.Module]) -> None:
    model, inputs = make(), picture()
    before, expected = state(model), plain(model, inputs)
    with Counting() as counting:
        with AttentionRecorder(model, keep_outputs=True) as recorder:
            model(inputs)
        count = counting.calls
        assert modes() == 1
    assert count > 0
    assert_same(before, state(model))
    assert torch.equal(plain(model, inputs), expected)
    assert len(recorder.records) == 3
    assert modes() == 0


@pytest.mark.parametrize("where", ["first attention", "head"])
def test_nothing_is_left_behind_by_an_exception(where: str) -> None:
    model, inputs = timm_vit(), picture()
    failing = model.blocks[0].attn.proj if where == "first attention" else model.head
    handle = failing.register_forward_hook(lambda *_: (_ for _ in ()).throw(UsersError))
    before = state(model)
    with pytest.raises(UsersError), AttentionRecorder(model, keep_outputs=True):
        model(inputs)
    assert_same(before, state(model))
    assert modes() == 0
    handle.remove()
    assert plain(model, inputs).shape == (2, 5)


def test_an_exception_that_the_network_catches_does_not_confuse_the_paths() -> None:
    class Catching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.failing = nn.Sequential(nn.Identity(), nn.Linear(3, 3))

        def forward(self, tokens: Tensor) -> Tensor:
            with suppress(RuntimeError):
                self.failing(tokens)
            return F.scaled_dot_product_attention(tokens, tokens, tokens)

    model = nn.Sequential(Catching())
    with AttentionRecorder(model) as recorder:
        model(tensors(2, 1, LENGTH, WIDTH))
    assert recorder.records[0].path == "[0]"


def test_gradients_switched_off_between_two_attentions_are_an_error() -> None:
    model = nn.Sequential(timm_vit().blocks[0], timm_vit().blocks[1])
    model[0].forward = torch.no_grad()(model[0].forward)  # type: ignore[method-assign]
    said = r"'\[0\].attn': behind it, before that of '\[1\].attn', the network switches gradients off"
    with pytest.raises(MethodError, match=said), AttentionRecorder(model):
        model(tensors(2, LENGTH, 16))
    assert modes() == 0
