"""Which layers are compiled together: those of which each hands its output to the next, and to nothing else."""

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.instrumentation.compilation import chains_before, compile_before
from camtool.instrumentation.network_inputs import network_inputs


class Net(nn.Module):
    """Layers a, b, c and the target, in an order of a test's own."""

    def __init__(self, order: Callable[["Net", Tensor], Any], middle: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3, padding=1), middle or nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.target, self.head = nn.Conv2d(4, 5, 3, padding=1), nn.Linear(5, 6)
        self.order, self.kept = order, None

    def scores(self, maps: Tensor) -> Tensor:
        return self.head(self.target(maps).relu().mean(dim=(2, 3)))

    def forward(self, inputs: Tensor) -> Any:
        return self.order(self, inputs)


def straight(net: Net, x: Tensor) -> Tensor:
    return net.scores(net.c(net.b(net.a(x))))


def added(net: Net, x: Tensor) -> Tensor:
    first = net.a(x)
    return net.scores(net.c(net.b(first)) + first)


def shape_read(net: Net, x: Tensor) -> Tensor:
    first = net.a(x)
    width = first.shape[-1]
    return net.scores(net.c(net.b(first)) * width)


def between(net: Net, x: Tensor) -> Tensor:
    return net.scores(net.c(net.b(net.a(x)) * 2))


def shape_read_later(net: Net, x: Tensor) -> Tensor:
    second = net.b(net.a(x))
    return net.scores(net.c(second) / len(second))


def also_given_out(net: Net, x: Tensor) -> Any:
    second = net.b(net.a(x))
    return net.scores(net.c(second)), second


def twice(net: Net, x: Tensor) -> Tensor:
    return net.scores(net.c(net.c(net.b(net.a(x)))))


def by_keyword(net: Net, x: Tensor) -> Tensor:
    return net.scores(net.c(net.b(input=net.a(x))))


def in_another_precision(net: Net, x: Tensor) -> Tensor:
    second = net.b(net.a(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        third = net.c(second)
    return net.scores(third.float())


def after_an_error(net: Net, x: Tensor) -> Tensor:
    with suppress(RuntimeError):
        net.c(x)
    return net.scores(net.b(net.a(x)))


def chains(net: nn.Module, target: nn.Module) -> list[str]:
    names = {module: name for name, module in net.named_modules()}
    with torch.no_grad():
        found = chains_before(net.eval(), network_inputs(net, torch.ones(2, 3, 8, 8)), [target])
    return ["".join(names[module][0] for module in chain) for chain in found]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (straight, ["abc", "t"]),
        (added, ["a", "bc", "t"]),
        (shape_read, ["a", "bc", "t"]),
        (between, ["ab", "c", "t"]),
        (shape_read_later, ["ab", "c", "t"]),
        (also_given_out, ["ab", "c", "t"]),
        (twice, ["ab", "c", "t"]),
        (by_keyword, ["a", "bc", "t"]),
        (in_another_precision, ["ab", "c", "t"]),
        (after_an_error, ["ab", "t"]),
    ],
)
def test_a_chain_holds_what_only_hands_a_tensor_on(order: Callable[[Net, Tensor], Any], expected: list[str]) -> None:
    net = Net(order)
    assert chains(net, net.target) == expected


@pytest.mark.parametrize("middle", [nn.ReLU(inplace=True), nn.Identity(), nn.Dropout()])
def test_what_gives_its_own_input_belongs_to_a_chain(middle: nn.Module) -> None:
    net = Net(straight, middle)
    assert chains(net, net.target) == ["abc", "t"]
    net = Net(added, middle)
    assert chains(net, net.target) == ["ab", "c", "t"], "what is read again is the output of both"


def test_a_layer_with_hooks_is_alone() -> None:
    net = Net(straight)
    net.b.register_forward_hook(lambda *_: None)
    assert chains(net, net.target) == ["a", "b", "c", "t"]
    net = Net(straight)
    net.a.register_forward_pre_hook(lambda *_: None)
    assert chains(net, net.target) == ["a", "bc", "t"]


def test_beside_scripted_code_every_layer_is_alone() -> None:
    def beside(net: Net, x: Tensor) -> Tensor:
        first = net.a(x)
        return net.scores(net.b(first) + net.c(first))

    net = Net(beside)
    net.b = torch.jit.trace(nn.Tanh(), torch.ones(2, 4, 8, 8))
    assert chains(net, net.target) == ["a", "c", "t"], "what scripted code reads is not seen"


class Random(nn.Module):
    """Layers in a row whose outputs are read again at random."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        torch.manual_seed(seed)
        kinds: list[Callable[[], nn.Module]] = [
            lambda: nn.Conv2d(3, 3, 3, padding=1),
            lambda: nn.BatchNorm2d(3),
            lambda: nn.ReLU(inplace=draw.random() < 0.5),
            nn.Identity,
            lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True)),
        ]
        self.layers = nn.ModuleList(draw.choice(kinds)() for _ in range(8))
        self.read_again = [draw.choice(["", "", "", "added", "shape", "function"]) for _ in self.layers]
        self.target, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        later: list[Any] = []
        for layer, how in zip(self.layers, self.read_again, strict=True):
            x = layer(x)
            if how == "added":
                later.append(x)
            elif how == "shape":
                later.append(x.shape[-1])
            elif how == "function":
                x = x.sin()
        for value in later:
            x = x + value
        return self.head(self.target(x).relu().mean(dim=(2, 3)))


@pytest.mark.parametrize("seed", range(30))
def test_chains_give_what_the_layers_give(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)
    net = Random(seed).eval()
    inputs = network_inputs(net, torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(seed)))
    with torch.no_grad():
        expected = net(inputs.picture)
        compile_before(net, inputs, [net.target])
        assert torch.equal(net(inputs.picture), expected)
        other = torch.randn(1, 3, 12, 7)
        assert torch.equal(net(other), Random(seed).eval()(other)), "of another size"


def test_the_maps_are_those_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)
    net, inputs = Net(straight).eval(), torch.randn(2, 3, 8, 8)
    expected = CAM(net, "target", ["gradcam", "ablationcam"])(inputs, 1)
    found = CAM(net, "target", ["gradcam", "ablationcam"], speed={"compile": True})(inputs, 1)
    for method, result in found.items():
        assert torch.equal(result.maps, expected[method].maps)
