"""The same numbers on every device: noise is drawn on the CPU by generators of its own, and nothing follows torch's default device."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import camtool
from camtool import CAM, deep_feature_factorization
from camtool.instrumentation.randomness import SameRandomNumbers
from camtool.methods import AttentionMethod, build_method, method_names
from camtool.targets import BoxScore, EmbeddingSimilarity, Region
from tests.networks import images, small_net

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
PACKAGE = Path(camtool.__file__).parent
ROOMS = ("apis", "attribution", "concepts", "instrumentation", "layouts", "methods", "targets")
GROUND = ("functional.py", "fusion.py", "placement.py")
FILES = [*(path for room in ROOMS for path in sorted((PACKAGE / room).rglob("*.py"))), *(PACKAGE / name for name in GROUND)]

FACTORIES = {"arange", "empty", "eye", "full", "linspace", "logspace", "ones", "tensor", "zeros", "Generator"}
DRAWING = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"}
UNSEEDED = {"rand_like", "randn_like", "randint_like", "normal_", "uniform_", "bernoulli_", "random_", "exponential_", "cauchy_"}
OWNERS = {"randomness.py"}
"""Files that may seed the generators of a device."""


def mistakes(code: str) -> Iterator[str]:
    """Yield the calls whose numbers would differ from device to device, or be made on torch's default device."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, keywords = node.func.attr, {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        of_torch = ast.unparse(node.func.value) == "torch"
        if name in UNSEEDED or (of_torch and name in ("manual_seed", "seed")):
            yield f"{ast.unparse(node)}: drawn from a generator that is the caller's"
        elif of_torch and name in DRAWING and ("generator" not in keywords or keywords.get("device") != "'cpu'"):
            yield f"{ast.unparse(node)}: expected generator=…, device='cpu'"
        elif of_torch and name in FACTORIES and "device" not in keywords:
            yield f"{ast.unparse(node)}: expected device=…"
        elif of_torch and name == "Generator" and keywords.get("device") != "'cpu'":
            yield f"{ast.unparse(node)}: expected device='cpu'"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_numbers_are_drawn_on_the_cpu_and_tensors_are_made_on_a_named_device(path: Path) -> None:
    if path.name not in OWNERS:
        assert not list(mistakes(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "code",
    [
        "torch.randn(3)",
        "torch.randn(3, generator=generator)",
        "torch.randn(3, generator=generator, device=inputs.device)",
        "torch.randn_like(inputs)",
        "inputs.normal_()",
        "torch.manual_seed(0)",
        "torch.zeros(3)",
        "torch.Generator()",
        "torch.Generator(device=inputs.device)",
    ],
)
def test_the_check_finds_each_mistake(code: str) -> None:
    assert len(list(mistakes(code))) == 1


@contextmanager
def default_device(name: str) -> Iterator[None]:
    before = torch.get_default_device()
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None if before == torch.device("cpu") else before)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.fc = nn.Conv2d(2, 8, 2, 2), nn.Linear(8, 4)
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 8, 0.0, batch_first=True, norm_first=True) for _ in range(2)))

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.blocks(self.patches(image).flatten(2).transpose(1, 2)).mean(1))


def maps_or_words(model: nn.Module, inputs: Tensor, method: str, **settings: Any) -> Any:
    try:
        return CAM(model, None, method, **settings)(inputs, 1).maps
    except camtool.errors.CamtoolError as refusal:
        return str(refusal)


@pytest.mark.parametrize("method", method_names())
def test_another_default_device_changes_no_map(method: str) -> None:
    reads_attention = isinstance(build_method(method), AttentionMethod)
    for make in [Tokens] if reads_attention else [small_net, Tokens] if method in ("gradcam", "kpcacam") else [small_net]:
        model, inputs = make().eval(), images()
        for given in ({}, {"placement": "measured", "aug_smooth": True}) if method == "gradcam" else ({},):
            expected = maps_or_words(make().eval(), inputs, method, **given)
            with default_device("meta"):
                found = maps_or_words(model, inputs, method, **given)
            assert isinstance(found, str) == isinstance(expected, str), found
            if isinstance(found, str):
                assert found == expected
            else:
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_another_default_device_changes_no_target_and_no_concept() -> None:
    model, inputs = small_net(), images()
    targets = [Region, EmbeddingSimilarity, BoxScore]
    given: list[tuple[Any, ...]] = [([[1, 0], [0, 1]], 1), ([1.0, 2.0],), ([0, 0, 4, 4], 1)]
    expected = deep_feature_factorization(model, inputs, 2)
    with default_device("meta"):
        made = [target(*arguments) for target, arguments in zip(targets, given, strict=True)]
        found = deep_feature_factorization(model, inputs, 2)
    assert made[0].mask.tolist() == [[True, False], [False, True]]
    assert made[2].box.tolist() == [0, 0, 4, 4]
    torch.testing.assert_close(made[1](torch.tensor([1.0, 2.0])), torch.tensor(1.0))
    torch.testing.assert_close(found.maps, expected.maps)


def test_a_networks_own_random_numbers_are_seeded_and_the_callers_go_on() -> None:
    torch.manual_seed(0)
    expected = [torch.rand(3), torch.rand(3)]
    torch.manual_seed(0)
    first = torch.rand(3)
    draws = [SameRandomNumbers(torch.device("cpu"), seed)(lambda: torch.rand(3)) for seed in (1, 1, 2)]
    assert torch.equal(torch.stack([first, torch.rand(3)]), torch.stack(expected))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_generators_of_other_devices_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("seeds every device"))
    SameRandomNumbers(torch.device("cpu"), 1)(lambda: torch.rand(1))
