"""Where cells look, measured: on networks whose weights average, where arithmetic says the same; and where nothing can be measured."""

import copy
import gc
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from camtool.errors import CamtoolError
from camtool.instrumentation import placements as kept
from camtool.instrumentation.cell_fit import fit_axis, windows
from camtool.instrumentation.cell_places import measure_places
from camtool.instrumentation.inputs import find_inputs
from camtool.instrumentation.placements import find_placements
from camtool.placement import Placement, build_placement
from tests.networks import CONV, RANKS, ByShape, small_vit

NEAR = 0.15  # cells


def measured(model: nn.Module, inputs: Tensor, path: str, seed: int = 0) -> Placement:
    return measure_places(model, find_inputs(inputs), {path: model.get_submodule(path)}, ByShape(), seed=seed)[path]


def averaging(model: nn.Module) -> nn.Module:
    """Return the network with equal weights that sum to 1 and without biases: a cell looks at the middle of what it sees."""
    with torch.no_grad():
        for module in model.eval().modules():
            if isinstance(module, (*CONV.values(), nn.Linear)):
                module.weight.fill_(1 / module.weight[0].numel())
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.BatchNorm2d):
                for values, value in ((module.weight, 1), (module.bias, 0), (module.running_mean, 0), (module.running_var, 1)):
                    values.fill_(value)
    return model


def bright(*shape: int) -> Tensor:
    return 1 + torch.rand(shape, generator=torch.Generator().manual_seed(3))


def first_centre(layers: Sequence[tuple[int, int, int]]) -> tuple[float, int]:
    """Return the first cell's centre and the stride, in pixels, of layers of (kernel, stride, padding before): arithmetic."""
    centre, stride = 0.0, 1
    for kernel, step, padding in layers:
        centre += ((kernel - 1) / 2 - padding) * stride
        stride *= step
    return centre, stride


HALF = (2, 2, 0)
RESNET = [(7, 2, 3), (3, 2, 1), (3, 1, 1), (3, 2, 1), (3, 2, 1)]  # to layer3: what changes nothing is left out
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, list[tuple[int, int, int]], float]] = {
    "resnet18 layer4": (torchvision.models.resnet18, "layer4", [*RESNET, (3, 2, 1)], -0.484),
    "resnet18 layer3": (torchvision.models.resnet18, "layer3", RESNET, -0.469),
    "vgg11": (torchvision.models.vgg11, "features", [(3, 1, 1), HALF] * 5, 0.0),
    "densenet121": (torchvision.models.densenet121, "features", [(7, 2, 3), (3, 2, 1), HALF, HALF, HALF], -0.047),
    # TensorFlow pads an even length behind only: before a kernel of 3 nothing, before one of 5 one pixel.
    "efficientnet lite0": (
        lambda: timm.create_model("tf_efficientnet_lite0"),
        "conv_head",
        [(3, 2, 0), (3, 2, 0), (5, 2, 1), (3, 2, 0), (5, 2, 1)],
        0.484,
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_averages_looks_where_arithmetic_says(name: str) -> None:
    build, path, layers, shift = NETWORKS[name]
    inputs = bright(1, 3, 224, 224) / (1000 if "lite0" in name else 1)  # its ReLU6 would be saturated
    centre, stride = first_centre(layers)
    even = Placement.even((224 // stride,) * 2, (224, 224))
    assert (centre - even.offset[0]) / stride == pytest.approx(shift, abs=1e-3)
    found = measured(averaging(build()), inputs, path)
    assert found.scale == (stride, stride)
    for offset in found.offset:
        assert abs(offset - centre) / stride < NEAR
    assert (found.source == "measured") == (shift != 0)


SIZE = {1: 160, 2: 72, 3: 40}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rank", RANKS)
def test_random_convolutions_that_average_look_where_arithmetic_says(rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(10 * rank + seed)

    def drawn(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    kernels = [drawn(2, 4) for _ in range(3)]
    layers = [(kernel, drawn(1, 2), drawn(0, kernel // 2)) for kernel in kernels]
    modules = [CONV[rank](3 if not k else 4, 4, kernel, stride=step, padding=pad) for k, (kernel, step, pad) in enumerate(layers)]
    found = measured(averaging(nn.Sequential(*modules)), bright(4, 3, *[SIZE[rank]] * rank), "2")
    centre, stride = first_centre(layers)
    with torch.no_grad():
        cells = nn.Sequential(*modules)(bright(1, 3, *[SIZE[rank]] * rank)).shape[2]
    middle = (cells - 1) / 2  # an unpadded network's cells are closer together than an even division's
    for scale, offset in zip(found.scale, found.offset, strict=True):
        assert abs(scale * middle + offset - stride * middle - centre) / stride < NEAR


def test_a_signal_is_a_picture_of_height_one() -> None:
    line, plane = nn.Conv1d(1, 1, 5, stride=4, padding=2, bias=False), nn.Conv2d(1, 1, (1, 5), stride=(1, 4), padding=(0, 2), bias=False)
    with torch.no_grad():
        line.weight.copy_(torch.tensor([[[1.0, 3.0, 2.0, 1.0, 0.5]]]))
        plane.weight.copy_(line.weight[:, :, None])
    signal = bright(1, 1, 64)
    of_line, of_plane = measured(nn.Sequential(line), signal, "0"), measured(nn.Sequential(plane), signal[:, :, None], "0")
    assert of_line.source == "measured"
    assert (of_plane.scale, of_plane.offset) == ((1.0, *of_line.scale), (0.0, *of_line.offset))


def strided() -> nn.Sequential:
    """Return a seeded network of stride 8 that ends in class scores; `4` looks half a cell to the upper left."""
    torch.manual_seed(4)
    convolutions = [nn.Conv2d(3 if not k else 8, 8, 3, stride=2, padding=1) for k in range(3)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)]
    return nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), convolutions[2], *head).eval()


def test_the_same_seed_gives_the_same_placement_and_leaves_no_trace() -> None:
    model, inputs = strided().train(), torch.randn(2, 3, 64, 64)
    before, unchanged, random = copy.deepcopy(model.state_dict()), inputs.clone(), torch.random.get_rng_state()
    found = measured(model, inputs, "4")
    assert found == measured(model, inputs, "4")
    assert found != measured(model, inputs, "4", seed=1)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(inputs, unchanged)
    assert torch.equal(torch.random.get_rng_state(), random)


@pytest.mark.parametrize(("rank", "most"), [(1, 18), (2, 18), (3, 20)])
def test_a_picture_takes_at_most_twenty_forward_passes_without_a_graph(rank: int, most: int) -> None:
    model, passed, graphs = nn.Sequential(CONV[rank](1, 2, 4, stride=4)), [], []
    model.register_forward_pre_hook(lambda _, arguments: passed.append(len(arguments[0])))
    model[0].register_forward_hook(lambda *call: graphs.append(call[-1].requires_grad))
    measured(model, bright(1, 1, *[16] * rank), "0")
    assert sum(passed) == most
    assert not any(graphs)


class Mixing(nn.Module):
    """Every cell sees the whole picture; or cells are in an order of their own."""

    def __init__(self, order: Tensor | None) -> None:
        super().__init__()
        self.cells = nn.Conv2d(3, 4, 8, stride=8)
        self.out = nn.Identity()
        self._order = order

    def forward(self, pictures: Tensor) -> Tensor:
        maps = self.cells(pictures)
        if self._order is None:
            return self.out(maps.mean(dim=(2, 3), keepdim=True).expand_as(maps) + 0)
        return self.out(maps.flatten(2)[..., self._order].view_as(maps))


class OneAtATime(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv2d(3, 4, 8, stride=8)

    def forward(self, pictures: Tensor) -> Tensor:
        if len(pictures) != 1:
            raise RuntimeError("one at a time")
        return self.cells(pictures)


ORDER = torch.randperm(64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("model", "path", "why"),
    [
        (Mixing(None), "out", "the cells do not look at places in a row"),
        (Mixing(ORDER), "out", "the cells do not look at places in a row"),
        (OneAtATime(), "cells", "the network cannot be run on disturbed copies (RuntimeError)"),
        (nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.Flatten(), nn.Linear(256, 2)), "2", "the layer is not called, or has no maps"),
        (nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.Threshold(1e6, 0.0)), "1", "the cells do not look at places in a row"),
    ],
    ids=["mixing", "permuted", "one at a time", "no maps", "no answer"],
)
def test_where_nothing_can_be_measured_the_division_is_even_and_says_why(model: nn.Module, path: str, why: str) -> None:
    found = measured(model.eval(), bright(1, 3, 64, 64), path)
    assert found.source == f"even: {why}"
    assert found.scale == tuple(2 * offset + 1 for offset in found.offset)


def test_patches_lie_evenly_and_stay_there() -> None:
    found = measured(small_vit(), torch.randn(1, 3, 64, 64), "encoder.layers.encoder_layer_0.ln_1")
    assert found.source.startswith("even: the measured shift of ")
    assert (found.scale, found.offset) == ((16.0, 16.0), (7.5, 7.5))


def test_half_precision_and_scripted_parts_are_measured_too() -> None:
    model, inputs = nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3, stride=2, padding=1)), nn.ReLU()), torch.randn(1, 3, 64, 64)
    assert measured(model, inputs, "1").source == "measured"
    low = strided().bfloat16()
    assert measured(low, inputs.bfloat16(), "4").source.startswith(("measured", "even: the measured shift"))


# The fit


@pytest.mark.parametrize("count", [3, 4])
def test_windows_share_every_pixel(count: int) -> None:
    torch.testing.assert_close(windows(37, count).sum(dim=0), torch.ones(37, dtype=torch.float64))


@pytest.mark.parametrize("shift", [-0.6, -0.25, 0.0, 0.4])
@pytest.mark.parametrize(("cells", "width"), [(3, 0.5), (7, 1.2), (14, 2.0)])
def test_the_shift_of_bells_cut_off_at_the_borders_is_found(cells: int, width: float, shift: float) -> None:
    pixels = 16 * cells
    centres = (torch.arange(cells, dtype=torch.float64) + 0.5 + shift) * 16 - 0.5
    bells = torch.exp(-((torch.arange(pixels) - centres.unsqueeze(1)) ** 2) / (2 * (16 * width) ** 2))  # (cells, pixels)
    answers = windows(pixels, 4) @ bells.T
    found = fit_axis(torch.stack([answers, 2 * answers]), pixels)
    assert found.shift == pytest.approx(shift, abs=0.02)
    assert found.spread == pytest.approx(0, abs=1e-6)


# Kept beside the network


def found_placements(model: nn.Module, inputs: Tensor, digest: str | None = None) -> Any:
    from dataclasses import replace

    setting = replace(build_placement("measured"), digest=digest)
    return find_placements(setting, model, find_inputs(inputs), {"4": model[4]}, {}, ByShape())


def test_a_second_call_measures_nothing_until_the_weights_or_the_size_change() -> None:
    model, inputs, passes = strided(), torch.randn(1, 3, 64, 64), []
    model[0].register_forward_hook(lambda *_: passes.append(1))
    first = found_placements(model, inputs)
    count = len(passes)
    assert count > 0
    assert found_placements(model, torch.randn(3, 3, 64, 64)) == first
    assert len(passes) == count
    found_placements(model, torch.randn(1, 3, 32, 32))
    assert len(passes) > count
    count = len(passes)
    with torch.no_grad():
        model[0].weight.mul_(-1)
    found_placements(model, inputs)
    assert len(passes) > count


def test_what_is_kept_goes_with_the_network() -> None:
    model = strided()
    found_placements(model, torch.randn(1, 3, 64, 64))
    assert model in kept._KEPT
    before = len(kept._KEPT)
    del model
    gc.collect()
    assert len(kept._KEPT) < before


def test_given_numbers_of_unknown_or_unused_layers_are_refused() -> None:
    model, inputs = strided(), find_inputs(torch.randn(1, 3, 64, 64))
    for path, said in (("9", "9"), ("0", "Expected placements of layers that are used")):
        setting = build_placement({path: {"scale": 8, "offset": 0}})
        with pytest.raises(CamtoolError, match=said):
            find_placements(setting, model, inputs, {"4": model[4]}, {}, ByShape())
