"""A network that takes its input with other axes: maps equal those of the same network on (n, c, *spatial), bit for bit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM, deep_feature_factorization
from camtool.apis.settings import every_method
from camtool.attribution.result import CAMResult
from camtool.errors import CamtoolError
from tests.networks import CONV, images, small_net, small_vit

Change = Callable[[Tensor], Tensor]

OWN: dict[str, tuple[int, bool, Change, Change]] = {
    # letters: number of spatial axes, has channels, from n, c, spatial to the network's own axes, and back
    "ntchw": (3, True, lambda picture: picture.permute(0, 2, 1, 3, 4), lambda own: own.permute(0, 2, 1, 3, 4)),
    "nhwc": (2, True, lambda picture: picture.permute(0, 2, 3, 1), lambda own: own.permute(0, 3, 1, 2)),
    "cnhw": (2, True, lambda picture: picture.transpose(0, 1), lambda own: own.transpose(0, 1)),
    "hwnc": (2, True, lambda picture: picture.permute(2, 3, 0, 1), lambda own: own.permute(2, 3, 0, 1)),
    "tnc": (1, True, lambda picture: picture.permute(2, 0, 1), lambda own: own.permute(1, 2, 0)),
    "ntf": (2, False, lambda picture: picture[:, 0], lambda own: own[:, None]),
    "nt": (1, False, lambda picture: picture[:, 0], lambda own: own[:, None]),
    "tn": (1, False, lambda picture: picture[:, 0].T, lambda own: own.T[:, None]),
}
WRAPPERS = [
    {"type": "Smooth", "method": "gradcam", "samples": 2},
    {"type": "Integrated", "method": "layercam", "steps": 2},
    {"type": "Finer", "method": "gradcam"},
]
TARGETS = [[0, 2], [3, 1]]


class Own(nn.Module):
    """A network whose input has axes of its own."""

    def __init__(self, inner: nn.Module, back: Change) -> None:
        super().__init__()
        self.inner, self.back = inner, back

    def forward(self, own: Tensor) -> Tensor:
        assert own.is_contiguous() or 0 in own.stride(), "the network gets what it is used to"
        return self.inner(self.back(own).contiguous())


def networks(letters: str) -> tuple[nn.Module, Own, Tensor, Tensor]:
    """Return a network and its picture, and the same network with its input's own axes and what it takes."""
    rank, has_channels, to_own, back = OWN[letters]
    model = small_net(rank)
    if not has_channels:
        model.early[0] = CONV[rank](1, 5, 3, stride=2, padding=1)
    picture = images(rank)[:, : None if has_channels else 1].contiguous()
    return model, Own(model, back).eval(), picture, to_own(picture).contiguous()


def check_equal(results: dict[str, CAMResult], expected: dict[str, CAMResult]) -> None:
    assert results.keys() == expected.keys()
    for name, result in results.items():
        assert torch.equal(result.maps, expected[name].maps), name
        assert result.status == expected[name].status
        assert torch.equal(result.logits, expected[name].logits)
        for raw, other in zip(result.raw.values(), expected[name].raw.values(), strict=True):
            assert torch.equal(raw, other), name
        if expected[name].attributions is None:
            assert result.attributions is None
        else:
            assert torch.equal(result.attributions, expected[name].attributions), name


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
@pytest.mark.parametrize("letters", OWN)
def test_maps_of_every_method_are_those_of_the_picture(letters: str) -> None:
    model, wrapped, picture, own = networks(letters)
    methods = [*every_method(), *WRAPPERS]
    plain = CAM(model, "late", methods, skip_unfit=True)
    cam = CAM(wrapped, "inner.late", methods, skip_unfit=True, input_axes=letters)
    expected = plain(picture, TARGETS)
    assert len(expected) > 25
    kept = own.clone()
    results = cam(own, TARGETS)
    assert cam.refused.keys() == plain.refused.keys()
    check_equal(results, expected)
    assert torch.equal(own, kept)
    assert results["guidedbackprop"].attributions.shape == (2, 2, *picture.shape[1:])
    assert results["gradcam"].maps.shape == (2, 2, *picture.shape[2:])
    assert not any(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module) for module in wrapped.modules())
    assert all(parameter.grad is None for parameter in wrapped.parameters())


@pytest.mark.parametrize("letters", ["ntchw", "cnhw", "ntf"])
def test_aug_smooth_flips_the_last_spatial_axis_wherever_it_stands(letters: str) -> None:
    model, wrapped, picture, own = networks(letters)
    methods = ["gradcam", "scorecam", "fullgrad", "guidedgradcam"]
    expected = CAM(model, "late", methods, aug_smooth=True)(picture, [1, 2])
    check_equal(CAM(wrapped, "inner.late", methods, aug_smooth=True, input_axes=letters)(own, [1, 2]), expected)


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
@pytest.mark.parametrize("letters", ["nhwc", "tnc"])
def test_the_default_layer_concepts_and_a_faster_copy_take_them_too(letters: str) -> None:
    model, wrapped, picture, own = networks(letters)
    plain, cam = CAM(model), CAM(wrapped, input_axes=letters)
    check_equal({"gradcam": cam(own, 1)}, {"gradcam": plain(picture, 1)})
    assert cam.target_layers == [f"inner.{path}" for path in plain.target_layers]
    assert cam.input_axes == letters
    concepts = deep_feature_factorization(wrapped, own, 2, input_axes=letters)
    assert torch.equal(concepts.maps, deep_feature_factorization(model, picture, 2).maps)
    fast = CAM(wrapped, "inner.late", speed={"fold": True, "channels_last": True}, input_axes=letters)(own, 1)
    torch.testing.assert_close(fast.maps, plain(picture, 1).maps, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", ["rollout", "genericattention", "legrad"])
def test_attention_methods_take_them(method: str) -> None:
    picture = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    model, (_, _, to_own, back) = small_vit(), OWN["cnhw"]
    expected = CAM(model, method=method)(picture, [1, 2])
    result = CAM(Own(model, back).eval(), method=method, input_axes="cnhw")(to_own(picture).contiguous(), [1, 2])
    check_equal({method: result}, {method: expected})


class Aged(nn.Module):
    """Scores from a picture with the batch on the second axis, each sample weighted by its age."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)

    def forward(self, image: Tensor, age: Tensor) -> Tensor:
        return self.head(self.features(image.transpose(0, 1)).relu().mean(dim=(2, 3)) * age)


@pytest.mark.parametrize("method", ["hirescam", "scorecam", "ablationcam", "guidedbackprop"])
def test_other_inputs_keep_their_samples(method: str) -> None:
    torch.manual_seed(0)
    model, image, age = Aged(), torch.rand(3, 2, 8, 6), torch.tensor([[1.0], [3.0]])

    def maps(image: Tensor, age: Tensor) -> Tensor:
        return CAM(model, "features" if method != "guidedbackprop" else None, method, input="image", input_axes="cnhw")(
            {"image": image, "age": age}, 2
        ).maps

    both = maps(image, age)
    assert both.shape == (2, 8, 6)
    for sample in range(2):
        part = slice(sample, sample + 1)
        torch.testing.assert_close(both[part], maps(image[:, part], age[part]))


@pytest.mark.parametrize(
    ("inputs", "axes", "message"),
    [
        (
            torch.zeros(1, 3, 8, 8),
            "ntchw",
            r"Expected inputs \(n, t, c, h, w\) of floating point, got shape \(1, 3, 8, 8\) of torch.float32",
        ),
        (torch.zeros(1, 9, dtype=torch.long), "nt", r"Expected inputs \(n, t\) of floating point, got shape \(1, 9\) of torch.int64"),
        (torch.zeros(1, 0), "nt", r"Expected inputs \(n, t\)"),
        (torch.zeros(1, 9), None, r"Expected inputs \(n, c, \*spatial\).*Other axes are named by input_axes=…, such as 'ntchw' or 'nt'"),
        (torch.zeros(1, 3, 8, 8), "nchh", "each axis has a letter of its own"),
        ({"a": torch.zeros(1, 9), "b": torch.zeros(1, 9)}, "nt", "Several inputs can be the picture"),
    ],
)
def test_inputs_without_these_axes_are_refused(inputs: Any, axes: str | None, message: str) -> None:
    with pytest.raises(CamtoolError, match=message):
        CAM(small_net(), "late", input_axes=axes)(inputs)
