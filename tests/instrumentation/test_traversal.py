"""Going through a network's modules: the same as torch's own, which is slow, and what is told from a module's attributes at a glance."""

import random

import pytest
import torch
from torch import nn

from camtool.instrumentation.adaptation import _of_inference
from camtool.instrumentation.kept import keeps_weights_only, tensors_on
from camtool.instrumentation.layer_paths import find_layer, walk
from camtool.instrumentation.traversal import modules_of


def tree(draw: random.Random, known: list[nn.Module], depth: int = 0) -> nn.Module:
    """Return a random tree of modules, some of them shared, some None."""
    if known and draw.random() < 0.15:
        return draw.choice(known)
    if depth == 4 or draw.random() < 0.3:
        module: nn.Module = draw.choice([nn.ReLU, lambda: nn.Conv2d(1, 1, 1), lambda: nn.BatchNorm2d(2)])()
    else:
        parts = [tree(draw, known, depth + 1) for _ in range(draw.randrange(4))]
        module = nn.Sequential(*parts) if draw.random() < 0.5 else nn.ModuleDict({f"part{place}": part for place, part in enumerate(parts)})
        if draw.random() < 0.3:
            module.register_module("nothing", None)
    known.append(module)
    return module


@pytest.mark.parametrize("seed", range(30))
def test_modules_and_paths_are_those_of_torch(seed: int) -> None:
    model = nn.Sequential(*[tree(random.Random(seed), [])], nn.Linear(1, 1))
    assert modules_of(model) == list(model.modules())
    for every_path in (False, True):
        expected = [(name.split("."), module) for name, module in model.named_modules(remove_duplicate=not every_path) if name]
        found = list(walk(model, every_path=every_path))
        assert [module for _, module in found] == [module for _, module in expected]
        for (path, module), (names, _) in zip(found, expected, strict=True):
            assert path.replace("]", "").replace("[", ".").lstrip(".").split(".") == names
            assert find_layer(model, path) == (path, module)


def test_the_parts_of_a_scripted_module_are_seen() -> None:
    model = nn.Sequential(torch.jit.script(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh()))))
    assert modules_of(model) == list(model.modules())
    assert len(modules_of(model)) == 5


def test_a_module_is_told_to_keep_weights_only_where_nothing_of_inference_mode_is_found_on_it() -> None:
    with torch.inference_mode():
        tensor = torch.zeros(2)
    ordinary = torch.zeros(2)
    kept = [tensor, (1, tensor), [tensor], {"a": tensor}, [[tensor]], {"a": {1: (tensor,)}}, (1, (2, [tensor])), nn.ParameterList()]
    kept += [ordinary, (1, 2), [], {}, {"a": 1}, "text", None, 1.5, object(), ["a", None], (ordinary,)]
    for value in kept:
        for make in (nn.ReLU, lambda: nn.Conv2d(1, 1, 1), lambda: nn.BatchNorm2d(2)):
            module = make()
            module.kept = value
            found = any(not isinstance(item, nn.Parameter) and _of_inference(item) for _, _, item in tensors_on(module))
            assert not (found and keeps_weights_only(module)), value
    norm = nn.BatchNorm2d(2)
    assert keeps_weights_only(norm)
    with torch.inference_mode():
        norm.running_mean = torch.zeros(2)
    assert not keeps_weights_only(norm)
