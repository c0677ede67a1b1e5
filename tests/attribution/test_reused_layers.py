"""A layer that one forward pass calls several times: the map of each call is that of the network with a layer for each call."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.attribution.result import CAMResult
from camtool.errors import CamtoolWarning, LayerError, LayoutError, MethodError
from camtool.targets import BoxScore
from tests.shared_networks import CHANNELS, AttentionBlock, Reusing, chain, convolutions, pictures, scales, siamese, unused_end

METHODS = ["gradcam", "gradcam++", "hirescam", "layercam", "eigencam", "ablationcam", "scorecam", "shapleycam"]
pytestmark = pytest.mark.filterwarnings("ignore:.*no positive evidence:camtool.errors.CamtoolWarning")  # of random weights
USES = [chain, scales, unused_end]


def drawn(seed: int) -> tuple[Reusing, Any, int]:
    """Return a random network, its inputs, and the number of its calls."""
    choose = random.Random(seed)
    calls = choose.randint(2, 4)
    use = choose.choice([*USES, siamese])
    network = Reusing(calls, use, convolutions, seed)
    inputs = tuple(pictures(seed=number) for number in range(calls)) if use is siamese else pictures(seed=seed)
    return network, inputs, calls


def assert_same(results: dict[str, CAMResult], path: str, expected: dict[str, CAMResult], other: str) -> None:
    assert results.keys() == expected.keys()
    for method, result in results.items():
        raw = expected[method].raw[other]
        torch.testing.assert_close(result.raw[path], raw, rtol=1e-4, atol=1e-6, msg=lambda text, method=method: f"{method}: {text}")
        torch.testing.assert_close(result.maps, expected[method].maps, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_the_map_of_a_call_is_that_of_the_unrolled_network(seed: int) -> None:
    network, inputs, calls = drawn(seed)
    call = random.Random(-seed).randint(0, calls - 1 - (network.use is unused_end))
    settings: dict[str, Any] = {"input": call} if network.use is siamese else {}
    expected = CAM(network.unrolled(), f"blocks[{call}]", METHODS, **settings)(inputs, 1)
    for given in (call, call - calls):
        results = CAM(network, "block", METHODS, call=given, **settings)(inputs, 1)
        assert_same(results, "block", expected, f"blocks[{call}]")
        assert results["gradcam"].calls == {"block": call}
        assert results["gradcam"].source == f"at block (call {call} of 0 to {calls - 1})"


@pytest.mark.parametrize("seed", range(8))
def test_without_a_call_it_is_the_last_between_picture_and_score(seed: int) -> None:
    network, inputs, calls = drawn(seed)
    which = random.Random(-seed).randint(0, calls - 1)
    settings: dict[str, Any] = {"input": which} if network.use is siamese else {}
    call = {siamese: which, unused_end: calls - 2}.get(network.use, calls - 1)
    with pytest.warns(CamtoolWarning, match=f"Layer 'block' is called {calls} times in a forward pass; call={call} is explained") as caught:
        results = CAM(network, "block", METHODS, **settings)(inputs, 1)
    assert len([warning for warning in caught if "explained" in str(warning.message)]) == 1
    assert_same(results, "block", CAM(network.unrolled(), f"blocks[{call}]", METHODS, **settings)(inputs, 1), f"blocks[{call}]")


@pytest.mark.parametrize("use", [chain, siamese])
def test_augmented_copies_and_single_samples_have_the_same_call(use: Any) -> None:
    network = Reusing(2, use, convolutions, 3)
    inputs: Any = (pictures(), pictures(seed=5)) if use is siamese else pictures()
    settings: dict[str, Any] = {"input": 1} if use is siamese else {}
    with pytest.warns(CamtoolWarning, match="call=1"):
        smooth = CAM(network, "block", METHODS[:4], aug_smooth=True, **settings)(inputs, 1)
    expected = CAM(network.unrolled(), "blocks[1]", METHODS[:4], aug_smooth=True, **settings)(inputs, 1)
    assert_same(smooth, "block", expected, "blocks[1]")
    cam = CAM(network, "block", METHODS[:4], **settings)
    with pytest.warns(CamtoolWarning, match="call=1"):
        batch = cam(inputs, 1)
    with pytest.warns(CamtoolWarning, match="call=1"):
        single = cam(tuple(images[:1] for images in inputs) if use is siamese else inputs[:1], 1)
    for method, result in single.items():
        torch.testing.assert_close(result.raw["block"], batch[method].raw["block"][:1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("use", [chain, scales])
@pytest.mark.parametrize("method", ["guidedgradcam", "smooth:layercam", "integrated:gradcam"])
def test_methods_with_passes_of_their_own_read_the_same_call(use: Any, method: str) -> None:
    network = Reusing(3, use, convolutions, 2)
    result = CAM(network, "block", method, call=1)(pictures(), 1)
    expected = CAM(network.unrolled(), "blocks[1]", method)(pictures(), 1)
    torch.testing.assert_close(result.maps, expected.maps, rtol=1e-4, atol=1e-5)


def boxes(network: Reusing, step: Any, images: Tensor) -> list[dict[str, Tensor]]:
    """Return a box of each scale, as a detector with one head for all."""
    features = network.stem(images)
    by_scale = [step(number, nn.functional.avg_pool2d(features, 2**number)).sum(1).flatten(1).amax(1) for number in range(network.calls)]
    corners = torch.tensor([[0.0, 0.0, 4.0 * 2**number, 4.0 * 2**number] for number in range(network.calls)])
    labels = torch.ones(network.calls, dtype=torch.long)
    return [{"boxes": corners, "scores": torch.stack(scores).sigmoid(), "labels": labels} for scores in zip(*by_scale, strict=True)]


@pytest.mark.parametrize("scale", range(3))
def test_a_box_is_explained_at_the_scale_that_it_comes_from(scale: int) -> None:
    network, target = Reusing(3, boxes, convolutions), BoxScore([0, 0, 4 * 2**scale, 4 * 2**scale], 1, overlap=0.9)
    with pytest.warns(CamtoolWarning, match=f"call={scale} is explained"):
        result = CAM(network, "block", ["gradcam", "ablationcam"])(pictures(), target)
    expected = CAM(network.unrolled(), f"blocks[{scale}]", ["gradcam", "ablationcam"])(pictures(), target)
    assert_same(result, "block", expected, f"blocks[{scale}]")


def test_boxes_of_several_scales_in_one_batch_are_refused_in_words() -> None:
    network = Reusing(2, boxes, convolutions)
    targets = [BoxScore([0, 0, side, side], 1, overlap=0.9) for side in (4, 8)]
    with pytest.warns(CamtoolWarning, match="call=1"), pytest.raises(LayerError, match="another call= may have one"):
        CAM(network, "block")(pictures(), targets)


def test_layers_have_calls_of_their_own() -> None:
    network = Reusing(3, chain, convolutions)
    calls = {"block[0]": 0, "block[1]": -1}
    result = CAM(network, ["block[0]", "block[1]"], call=calls)(pictures(), 1)
    expected = CAM(network.unrolled(), ["blocks[0][0]", "blocks[2][1]"])(pictures(), 1)
    assert result.calls == {"block[0]": 0, "block[1]": 2}
    torch.testing.assert_close(result.maps, expected.maps, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [convolutions, lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)])
def test_a_module_with_several_paths_has_the_same_calls_at_each(make: Any) -> None:
    network = Reusing(3, chain, make)
    unrolled = network.unrolled()
    network.blocks = nn.ModuleList([network.block] * 3)
    network.block = None
    for path in ("blocks[0]", "blocks[2]"):
        with pytest.warns(CamtoolWarning, match="call=2"):
            result = CAM(network, path)(pictures(), 1)
        torch.testing.assert_close(result.maps, CAM(unrolled, "blocks[2]")(pictures(), 1).maps)
    paths = ["blocks[0]", "blocks[2]"]
    fused = CAM(network, paths, call={"blocks[0]": 0, "blocks[2]": 2})(pictures(), 1)
    torch.testing.assert_close(fused.maps, CAM(unrolled, paths)(pictures(), 1).maps)


def test_the_derived_layer_is_that_of_the_unrolled_network() -> None:
    network = Reusing(3, chain, convolutions)
    network.use = lambda network, step, images: network.heads[0](step(2, step(1, step(0, network.stem(images)))).mean((2, 3)))
    with pytest.warns(CamtoolWarning, match="call=2"):
        result = CAM(network)(pictures(), 1)
    expected = CAM(network.unrolled())(pictures(), 1)
    torch.testing.assert_close(result.maps, expected.maps, rtol=1e-4, atol=1e-5)
    assert [path.replace("block", "blocks[2]") for path in result.layers] == expected.layers


@pytest.mark.parametrize("which", [0, 1])
def test_the_derived_layer_of_two_pictures_lies_over_the_one_that_is_asked(which: int) -> None:
    network = Reusing(2, siamese, convolutions)
    inputs = (pictures(), pictures(seed=7))
    with pytest.warns(CamtoolWarning, match=f"call={which}"):
        result = CAM(network, input=which)(inputs, 1)
    (path,) = result.layers
    expected = CAM(network.unrolled(), path.replace("block", f"blocks[{which}]"), input=which)(inputs, 1)
    torch.testing.assert_close(result.maps, expected.maps, rtol=1e-4, atol=1e-5)


class Tokens(nn.Module):
    """A block of tokens, in front of which one call puts a class token, and the other rolls them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, CHANNELS)

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.relu(self.linear(self.norm(tokens)))


def two_readings(network: Reusing, step: Any, images: Tensor, others: Tensor) -> Tensor:
    tokens = network.stem(images).flatten(2).transpose(1, 2)
    front = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
    other = network.stem(others).flatten(2).transpose(1, 2)
    return network.heads[0]((step(0, front) * 2).mean(1) + step(1, other).mean(1).sin())


def tokens_of(network: Reusing, images: Tensor) -> Tensor:
    tokens = network.stem(images).flatten(2).transpose(1, 2)
    return torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)


def transformer(network: Reusing, step: Any, images: Tensor) -> Tensor:
    tokens = tokens_of(network, images)
    for number in range(network.calls):
        tokens = step(number, tokens)
    return network.heads[0](tokens[:, 0])


def two_transformers(network: Reusing, step: Any, *inputs: Tensor) -> Tensor:
    ends = [step(number + 2, step(number, tokens_of(network, images))) for number, images in enumerate(inputs)]
    return network.heads[0]((ends[0][:, 0] - ends[1][:, 0]).sin())


@pytest.mark.parametrize(("use", "which"), [(transformer, None), (two_transformers, 0), (two_transformers, 1)])
def test_attention_of_a_reused_block_is_that_of_all_its_calls(use: Any, which: int | None) -> None:
    network = Reusing(3 if use is transformer else 4, use, AttentionBlock)
    inputs: Any = pictures() if which is None else (pictures(), pictures(seed=7))
    methods = ["rollout", "gradrollout", "genericattention", "legrad", "agcam"]
    results = CAM(network, method=methods, input=which)(inputs, 1)
    expected = CAM(network.unrolled(), method=methods, input=which)(inputs, 1)
    assert_same(results, "attention", expected, "attention")
    assert len(results["legrad"].layers) == (3 if which is None else 2)


@pytest.mark.parametrize("which", [0, 1])
def test_the_layout_is_measured_of_the_call(which: int) -> None:
    network = Reusing(2, two_readings, Tokens)
    inputs = (pictures(), pictures(seed=7))
    for asked in (which, 1 - which):  # what is found of one call and input is not used for another one
        result = CAM(network, "block", "hirescam", input=asked, call=asked)(inputs, 1)
        expected = CAM(network.unrolled(), f"blocks[{asked}]", "hirescam", input=asked)(inputs, 1)
        torch.testing.assert_close(result.raw["block"], expected.raw[f"blocks[{asked}]"], rtol=1e-4, atol=1e-6)
    with pytest.raises(LayoutError, match="not read as a map"):
        CAM(network, "block", "hirescam", input=which, call=1 - which)(inputs, 1)


def turned(network: Reusing, step: Any, images: Tensor) -> Tensor:
    first = step(0, tokens_of(network, images))  # the token that is no position is in front, in the second call behind
    return network.heads[0](step(1, first.roll(-1, dims=1)).mean(1))


def test_two_calls_of_one_shape_have_layouts_of_their_own() -> None:
    network = Reusing(2, turned, Tokens)
    for call in (0, 1, 0):
        result = CAM(network, "block", "hirescam", call=call)(pictures(), 1)
        expected = CAM(network.unrolled(), f"blocks[{call}]", "hirescam")(pictures(), 1)
        torch.testing.assert_close(result.raw["block"], expected.raw[f"blocks[{call}]"], rtol=1e-4, atol=1e-6)


def test_places_are_measured_of_the_call() -> None:
    network = Reusing(2, scales, convolutions)
    for call in (0, 1, 0):
        place = CAM(network, "block", call=call, placement="measured")(pictures(1, 32), 1).placement["block"]
        expected = CAM(network.unrolled(), f"blocks[{call}]", placement="measured")(pictures(1, 32), 1).placement[f"blocks[{call}]"]
        assert place == expected


def test_without_gradients_the_call_is_found_by_changing_it() -> None:
    class NoGraph(Reusing):
        @torch.no_grad()
        def forward(self, *inputs: Tensor) -> Any:
            return super().forward(*inputs)

    network = NoGraph(3, unused_end, convolutions)
    with pytest.warns(CamtoolWarning, match="call=1 is explained"):
        result = CAM(network, "block", ["eigencam", "ablationcam"])(pictures(), 1)
    assert_same(result, "block", CAM(network.unrolled(), "blocks[1]", ["eigencam", "ablationcam"])(pictures(), 1), "blocks[1]")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (2, "is called 2 times in a forward pass; expected call=0 to 1, or -2 to -1, got 2"),
        (-3, "expected call=0 to 1, or -2 to -1, got -3"),
        (True, "Expected the number of a layer's call"),
        ({"stem": 0}, "Expected calls of the target layers, block, got one of 'stem'"),
        ({"blok": 0}, "closest: 'block'"),
    ],
)
def test_a_call_that_does_not_exist_is_refused_in_words(call: Any, words: str) -> None:
    with pytest.raises(LayerError, match=words):
        CAM(Reusing(2, chain, convolutions), "block", call=call)(pictures(), 1)


def test_a_layer_that_is_called_once_has_no_second_call() -> None:
    network = Reusing(2, chain, convolutions)
    assert CAM(network, "stem", call=-1)(pictures(), 1).calls == {}
    with pytest.raises(LayerError, match="Layer 'stem' is called once in a forward pass; expected call=0, or -1, got 1"):
        CAM(network, "stem", call=1)(pictures(), 1)


def test_a_call_without_a_method_of_target_layers_is_refused() -> None:
    with pytest.raises(MethodError, match="The call of a target layer is given, but 'fullgrad' reads the input and no target layer"):
        CAM(Reusing(2, chain, convolutions), method="fullgrad", call=1)
