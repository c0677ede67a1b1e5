"""What everybody downstream of a layer sees: hooks of the network's own, global ones, and what layers keep on themselves."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from camtool import CAM
from camtool.instrumentation.interception import changed_output
from camtool.instrumentation.replay import Replay


class Keeper(nn.Module):
    """A convolution whose output is kept somewhere by `keep(self, output)`."""

    def __init__(self, keep: Callable[[nn.Module, Any], None]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.kept: Any = None
        self.of_all: dict[str, Any] = {}
        self.listed: list[Any] = []
        self.register_buffer("buffer", None)
        self.keep = keep

    def forward(self, pictures: Tensor) -> Tensor:
        features = self.conv(pictures).relu()
        self.keep(self, features)
        return features


def _as_attribute(layer: Any, output: Tensor) -> None:
    layer.kept = output


def _in_a_dict(layer: Any, output: Tensor) -> None:
    layer.of_all["features"] = {"last": output}


def _in_a_list(layer: Any, output: Tensor) -> None:
    layer.listed[:] = [None, output]


def _in_a_tuple(layer: Any, output: Tensor) -> None:
    layer.kept = (1, output)


def _in_a_buffer(layer: Any, output: Tensor) -> None:
    layer.buffer = output


def _as_a_view(layer: Any, output: Tensor) -> None:
    layer.kept = output.transpose(2, 3)


def _as_views_of_parts(layer: Any, output: Tensor) -> None:
    layer.listed[:] = output.chunk(2, dim=1)


def _nowhere(layer: Any, output: Tensor) -> None: ...


class UNet(nn.Module):
    """A head over what the layer returned, at half the size, and over what `skip` finds of it."""

    def __init__(self, layer: nn.Module, skip: Callable[["UNet"], Tensor]) -> None:
        super().__init__()
        self.layer, self.down, self.up, self.head = layer, nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(16, 8, 1), nn.Linear(8, 4)
        self.skip = skip
        self.stored: dict[str, Tensor] = {}

    def forward(self, pictures: Tensor) -> Tensor:
        below = nn.functional.interpolate(self.down(self.layer(pictures)), scale_factor=2)
        both = torch.cat([below, self.skip(self)], dim=1)
        return self.head(self.up(both).relu().mean((2, 3)))


KEPT: dict[str, tuple[Callable[..., None], Callable[[Any], Tensor]]] = {
    "an attribute": (_as_attribute, lambda net: net.layer.kept),
    "a dict in a dict": (_in_a_dict, lambda net: net.layer.of_all["features"]["last"]),
    "a list": (_in_a_list, lambda net: net.layer.listed[1]),
    "a tuple": (_in_a_tuple, lambda net: net.layer.kept[1]),
    "a buffer": (_in_a_buffer, lambda net: net.layer.buffer),
    "a view": (_as_a_view, lambda net: net.layer.kept.transpose(2, 3)),
    "views of parts": (_as_views_of_parts, lambda net: torch.cat(list(net.layer.listed), dim=1)),
}
HOOKED = ["hook", "prepended hook", "hook that changes", "global hook", "wrapped forward"]
ELSEWHERE = [
    *("forward wrapped before", "wrapper's variable", "another module", "a shared list in a tuple", "a deque", "an object", "slots"),
    "hook on the layer inside",
]


class Store:
    """An object of the network's own."""

    def __init__(self) -> None:
        self.features: Any = None


class Slots:
    __slots__ = ("features",)

    features: Tensor


def _store_elsewhere(net: "UNet", kind: str) -> Callable[[], None]:
    """Let `net.skip` find the layer's output where neither the layer nor a hook on it keeps it; return what removes that."""
    stored: Any = {"an object": Store, "slots": Slots, "a deque": deque}.get(kind, dict)()
    latest: Tensor | None = None

    def keep(features: Tensor) -> None:
        nonlocal latest
        if kind == "wrapper's variable":
            latest = features
        elif kind == "another module":
            net.down.features = features
        elif kind == "a shared list in a tuple":
            stored["all"] = ([1], ("two", (features, 3)))
        elif isinstance(stored, deque):
            stored.append(features)
        elif isinstance(stored, dict):
            stored["features"] = features
        else:
            stored.features = features

    def find(net: UNet) -> Any:
        if kind == "wrapper's variable":
            return latest
        if kind == "another module":
            return net.down.features
        if kind == "a shared list in a tuple":
            return stored["all"][1][1][0]
        if isinstance(stored, deque):
            return stored[-1]
        return stored["features"] if isinstance(stored, dict) else stored.features

    net.skip = find
    if kind == "hook on the layer inside":  # the layer returns what its part has returned
        inner = net.layer
        net.layer = nn.Sequential(inner)
        return inner.register_forward_hook(lambda *call: keep(call[2])).remove
    own = net.layer.forward

    def wrapper(pictures: Tensor) -> Tensor:
        output: Tensor = own(pictures)
        keep(output)
        return output

    net.layer.forward = wrapper  # type: ignore[method-assign]
    return lambda: None


def _hook(net: UNet, kind: str) -> Callable[[], None]:
    """Let the network keep the layer's output in `net.stored` by a hook of the given kind; return what removes it."""

    def store(module: nn.Module, _: Any, output: Tensor) -> Tensor | None:
        if module is net.layer:
            net.stored["features"] = output
            return output * 2 if kind == "hook that changes" else None
        return None

    if kind == "global hook":
        return register_module_forward_hook(store).remove  # type: ignore[no-any-return]
    if kind == "wrapped forward":  # as recorders of hidden states do while the network runs

        def wrap(*_: Any) -> None:
            before, inner = vars(net.layer).get("forward"), net.layer.forward

            def wrapped(*arguments: Any) -> Tensor:
                net.stored["features"] = inner(*arguments)
                return net.stored["features"]

            def unwrap(*_: Any) -> None:
                handle.remove()
                vars(net.layer)["forward"] = before
                if before is None:
                    del vars(net.layer)["forward"]

            vars(net.layer)["forward"] = wrapped
            handle = net.register_forward_hook(unwrap)

        return net.register_forward_pre_hook(wrap).remove
    return net.layer.register_forward_hook(store, prepend=kind == "prepended hook").remove


@contextmanager
def network(kind: str) -> Iterator[UNet]:
    torch.manual_seed(0)
    keep, skip = KEPT.get(kind, (_nowhere, lambda net: net.stored["features"]))
    net = UNet(Keeper(keep), skip).eval()
    remove = _hook(net, kind) if kind in HOOKED else _store_elsewhere(net, kind) if kind in ELSEWHERE else lambda: None
    try:
        yield net
    finally:
        remove()


def with_features(net: UNet, pictures: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return (class scores, features) of a pass whose convolution's ReLU gives `features`; its own if None."""
    seen = []

    class Given(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append(own(inputs).relu() if features is None else features)
            return seen[-1]

    layer: Any = net.layer[0] if isinstance(net.layer, nn.Sequential) else net.layer
    own, layer.conv = layer.conv, Given()
    try:
        return net(pictures), seen[0]  # the ReLU behind it changes nothing
    finally:
        layer.conv = own


@pytest.mark.parametrize("kind", [*KEPT, *HOOKED, *ELSEWHERE])
def test_gradients_reach_the_layer_through_whatever_keeps_its_output(kind: str) -> None:
    with network(kind) as net:
        pictures = torch.randn(2, 3, 16, 16)
        features = with_features(net, pictures, None)[1].detach().requires_grad_()
        # A ReLU of what is positive already: its gradient is one wherever the layer's output is not zero.
        (gradient,) = torch.autograd.grad(with_features(net, pictures, features)[0][:, 1].sum(), features)
        expected = (gradient * features).sum(1).detach()

        first = CAM(net, "layer", "hirescam")(pictures, targets=1).raw["layer"]
        second = CAM(net, "layer", "hirescam")(pictures, targets=1).raw["layer"]

    torch.testing.assert_close(first, expected)
    assert torch.equal(first, second)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("kind", [*KEPT, *HOOKED, *ELSEWHERE])
def test_altered_activations_are_what_is_kept(kind: str, whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if whole or "view" in kind:  # which is not replayed
        monkeypatch.setattr("camtool.attribution.computation.warn", lambda _: None)  # that it takes longer
    if whole:
        monkeypatch.setattr(Replay, "_try", lambda self: setattr(self, "status", "full forward passes: as asked"))
    with network(kind) as net:
        pictures = torch.randn(1, 3, 16, 16)
        with torch.no_grad():
            scores, features = with_features(net, pictures, None)
            drops = []
            for channel in range(8):
                altered = features.clone()
                altered[:, channel] = 0
                drops.append(scores[0, 1] - with_features(net, pictures, altered)[0][0, 1])
        expected = (torch.stack(drops).view(1, -1, 1, 1) * features).sum(1)

        result = CAM(net, "layer", "ablationcam")(pictures, targets=1)

    torch.testing.assert_close(result.raw["layer"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [*KEPT, *ELSEWHERE])
def test_what_is_kept_afterwards_is_the_networks_own(kind: str) -> None:
    with network(kind) as net:
        pictures = torch.randn(1, 3, 16, 16)
        hooks, forward = dict(net.layer._forward_hooks), vars(net.layer).get("forward")
        # Where a view is kept, whole passes leave that of their last copies.
        CAM(net, "layer", ["hirescam"] if "view" in kind else ["hirescam", "ablationcam"])(pictures, targets=1)
        kept = net.skip(net)

        assert not kept.requires_grad
        assert kept.shape == (1, 8, 16, 16)
        assert vars(net.layer).get("forward") is forward
        assert dict(net.layer._forward_hooks) == hooks


class Beside(nn.Module):
    """Keeps what shares its output's memory, but is more than it, or its input's."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = self.given = torch.empty(0)
        self.weight = nn.Parameter(torch.ones(1, 3, 2))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.whole, self.given = tokens * 2, tokens
        return self.whole[1:], tokens.transpose(1, 2), self.weight.transpose(1, 2)


def test_what_only_shares_memory_with_an_output_is_left_alone() -> None:
    module, tokens = Beside(), torch.randn(2, 3, 4)
    with torch.no_grad(), changed_output(module, lambda *call: tuple(torch.zeros_like(tensor) for tensor in call[-1])):
        module(tokens)
        assert torch.equal(module.whole, tokens * 2)
        assert module.given is tokens
        assert module.weight.sum() == 6


def test_a_change_ends_with_its_block_also_after_an_exception() -> None:
    layer = nn.Linear(2, 2)
    before = dict(vars(layer))
    with pytest.raises(ZeroDivisionError), changed_output(layer, lambda _, __, output: output / (1 // 0)):
        layer(torch.zeros(1, 2))
    assert vars(layer).keys() == before.keys()
    assert not layer._forward_hooks


def test_a_scripted_module_is_changed_too() -> None:
    layer = torch.jit.script(nn.Linear(2, 2))
    with changed_output(layer, lambda _, __, output: output * 0 + 5):
        assert layer(torch.zeros(1, 2)).tolist() == [[5, 5]]
    assert layer(torch.zeros(1, 2)).tolist() != [[5, 5]]


def test_the_fused_path_of_torchs_transformer_does_not_skip_the_layer() -> None:
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    called = []
    with torch.no_grad(), changed_output(block.norm1, lambda _, __, output: called.append(output)):
        block(torch.zeros(1, 4, 8))
    assert len(called) == 1
