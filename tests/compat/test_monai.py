"""MONAI's calls: a program written for it, its formulas in plain loops, its convention of scaling, and what is wrong there."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camtool.compat.monai import CAM, GradCAM, GradCAMpp, OcclusionSensitivity, default_normalizer
from camtool.errors import CamtoolError, DataError, LayerError, MethodError, TargetError
from tests.compat.volumes import classifier, segmenter, volumes

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")


def literal_grad_cam(model: nn.Module, layer: nn.Module, inputs: Tensor, classes: list[int]) -> Tensor:
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _, __, output: kept.append(output))
    logits = model(inputs)
    handle.remove()
    (gradient,) = torch.autograd.grad(sum(logits[sample, index].sum() for sample, index in enumerate(classes)), kept)
    b, c, *spatial = gradient.shape
    weights = gradient.view(b, c, -1).mean(2).view(b, c, *[1] * len(spatial))
    return F.relu((weights * kept[0]).sum(1, keepdim=True)).detach()


def large(maps: Tensor, inputs: Tensor) -> Tensor:
    return F.interpolate(maps, inputs.shape[2:], mode="trilinear", align_corners=False)


def rescaled(maps: Tensor, low: float, high: float) -> Tensor:
    """Return each map with its smallest value at `low` and its largest at `high`, as MONAI's ScaleIntensity."""
    return torch.stack([(one - one.min()) / (one.max() - one.min()) * (high - low) + low for one in maps])


def test_a_program_written_for_monai_runs() -> None:
    model = classifier()
    model.eval()
    image = volumes(1)
    cam = GradCAM(nn_module=model, target_layers="3")
    print("features", cam.feature_map_size([1, 2, 8, 10, 12]))
    result = cam(x=image, class_idx=1)
    occlusion = OcclusionSensitivity(nn_module=model, mask_size=4, n_batch=2, verbose=False, mode="mean_img", overlap=0.0)
    sensitivity, most_probable = occlusion(image, b_box=[-1, -1, 2, 5, -1, -1])
    assert result.shape == (1, 1, 8, 10, 12)
    assert sensitivity.shape == (1, 3, 8, 4, 12)
    assert most_probable.shape == (1, 1, 8, 4, 12)
    assert cam.feature_map_size([1, 2, 8, 10, 12]) == (1, 1, 4, 5, 6)


def test_the_hottest_is_one_and_monais_convention_is_to_be_asked_for() -> None:
    model, inputs = classifier(), volumes(2)
    expected = large(literal_grad_cam(model, model[3], inputs, [1, 1]), inputs)
    torch.testing.assert_close(GradCAM(model, "3")(inputs, class_idx=1), rescaled(expected, 0, 1), rtol=1e-4, atol=1e-5)
    found = GradCAM(model, "3", postprocessing=default_normalizer)(inputs, class_idx=1)
    torch.testing.assert_close(found, rescaled(expected, 1, 0), rtol=1e-4, atol=1e-5)
    places = found.flatten(1).argmin(dim=1)
    assert places.tolist() == expected.flatten(1).argmax(dim=1).tolist()
    assert (found.flatten(1).amin(dim=1) == 0).all()


@pytest.mark.parametrize("classes", [None, 2, [0, 2, 1], torch.tensor([0, 2, 1])])
def test_classes_are_each_samples_own(classes: Any) -> None:
    model, inputs = classifier(), volumes(3)
    meant = model(inputs).argmax(dim=1).tolist() if classes is None else [2] * 3 if isinstance(classes, int) else [0, 2, 1]
    found = GradCAM(model, "3").compute_map(inputs, classes)
    torch.testing.assert_close(found, literal_grad_cam(model, model[3], inputs, meant), rtol=1e-4, atol=1e-6)


def test_the_class_of_a_dense_output_is_summed_over_positions() -> None:
    model, inputs = segmenter(), volumes(1)
    found = GradCAM(model, "1").compute_map(inputs, 1)
    torch.testing.assert_close(found, literal_grad_cam(model, model[1], inputs, [1]), rtol=1e-4, atol=1e-5)


def test_one_of_several_layers_is_chosen_and_own_functions_are_used() -> None:
    model, inputs = classifier(), volumes(1)
    cam = GradCAM(model, ["1", "3"], upsampler=lambda size: lambda maps: maps * len(size), postprocessing=lambda maps: maps + 1)
    for place, layer in ((0, model[1]), (1, model[3]), (-1, model[3])):
        expected = literal_grad_cam(model, layer, inputs, [0]) * 3 + 1
        torch.testing.assert_close(cam(inputs, class_idx=0, layer_idx=place), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(LayerError, match="a layer_idx of 2 target layers, got 2"):
        cam(inputs, layer_idx=2)


def test_grad_cam_plus_plus_is_a_map_of_its_own() -> None:
    model, inputs = classifier(), volumes(1)
    found = GradCAMpp(model, "3")(inputs, class_idx=0)
    assert found.amax() == 1
    assert not torch.allclose(found, GradCAM(model, "3")(inputs, class_idx=0))


@pytest.mark.parametrize("layer", ["6", lambda model: model[6]])
def test_cam_is_the_linear_layer_at_every_position(layer: Any) -> None:
    model, inputs = classifier(), volumes(2)
    features = model[:4](inputs)
    expected = torch.stack(
        [(model[6].weight[index].view(-1, 1, 1, 1) * one).sum(dim=0) for index, one in zip((2, 0), features, strict=True)]
    )
    found = CAM(model, "3", fc_layers=layer).compute_map(inputs, [2, 0])
    torch.testing.assert_close(found, expected.unsqueeze(1).detach(), rtol=1e-4, atol=1e-5)
    assert CAM(model, "3", layer)(inputs).amin() == 0


@pytest.mark.parametrize(("activate", "activated"), [(True, lambda scores: scores.softmax(dim=1)), (False, lambda scores: scores)])
def test_occlusion_is_the_mean_probability_of_the_patches_over_a_position(activate: bool, activated: Any) -> None:
    model, inputs = classifier(), volumes(2)
    maps, best = OcclusionSensitivity(model, mask_size=(4, 5, 6), mode=0.5, overlap=0.5, activate=activate)(inputs)
    # Along y, patches of 5 two apart: the last, from 6, is cut at the border.
    total, count = torch.zeros(2, 3, 8, 10, 12), torch.zeros(8, 10, 12)
    for z in (0, 2, 4):
        for y in (0, 2, 4, 6):
            for x in (0, 3, 6):
                hidden = inputs.clone()
                box = (slice(z, z + 4), slice(y, y + 5), slice(x, x + 6))
                hidden[(slice(None), slice(None), *box)] = 0.5
                total[(slice(None), slice(None), *box)] += activated(model(hidden)).detach()[:, :, None, None, None]
                count[box] += 1
    torch.testing.assert_close(maps, total / count, rtol=1e-4, atol=1e-5)
    assert torch.equal(best, maps.argmax(dim=1, keepdim=True))


def test_a_single_output_has_the_probability_of_a_sigmoid() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 1))
    inputs = volumes(1)
    maps, best = OcclusionSensitivity(model, mask_size=8, mode=0.0, overlap=0.0)(inputs[..., :8, :8])
    torch.testing.assert_close(maps.unique(), model(torch.zeros_like(inputs)).sigmoid()[0].detach(), rtol=1e-4, atol=1e-5)
    assert not best.any()


@pytest.mark.parametrize("box", [[1, 3, -1, 4, 2, -1], [-1, -1, -1, -1, -1, -1], [0, 0, 9, 9, 11, 99]])
def test_a_box_has_its_first_and_last_position(box: list[int]) -> None:
    model, inputs = classifier(), volumes(1)
    occlusion = OcclusionSensitivity(model, mask_size=4, mode="mean_patch", overlap=0.0)
    whole, _ = occlusion(inputs)
    slices = [slice(max(a, 0), None if b < 0 else b + 1) for a, b in zip(box[::2], box[1::2], strict=True)]
    torch.testing.assert_close(occlusion(inputs, box)[0], whole[(slice(None), slice(None), *slices)], rtol=0, atol=0)


def test_the_model_stays_as_it_was() -> None:
    model = classifier().train()
    for cam in (GradCAM(model, "3"), CAM(model, "3", "6"), OcclusionSensitivity(model, mask_size=6, overlap=0.0)):
        with torch.no_grad():
            cam(volumes(1))
    assert model.training
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda model: GradCAM(model, "layer4"), LayerError, "No layer 'layer4'"),
        (lambda model: CAM(model, "3"), LayerError, "No layer 'fc'"),
        (lambda model: GradCAM(model, "3")(volumes(1), class_idx=5), TargetError, "Label 5 is out of range"),
        (lambda model: GradCAM(model, "3")(volumes(2), class_idx=[1]), TargetError, "one target per sample: 2 samples, 1 targets"),
        (lambda model: OcclusionSensitivity(model, mode="mean"), MethodError, "No mode 'mean'; expected one of gaussian, mean_patch"),
        (lambda model: OcclusionSensitivity(model, overlap=1.0), MethodError, "an overlap from 0 to below 1, got 1.0"),
        (lambda model: OcclusionSensitivity(model)(volumes(1)), MethodError, "expected a patch from 1 to"),
        (lambda model: OcclusionSensitivity(model, 4)(volumes(1), [0, 1]), DataError, "6 numbers, got 2"),
        (lambda model: OcclusionSensitivity(model, 4)(volumes(1), [5, 3, -1, -1, -1, -1]), DataError, "a box with positions in it"),
    ],
)
def test_what_cannot_be_is_one_line(make: Any, error: type[CamtoolError], message: str) -> None:
    with pytest.raises(error, match=message) as refused:
        make(classifier())
    assert "\n" not in str(refused.value)


def test_maps_are_tensors_on_the_models_device() -> None:
    found = GradCAM(classifier(), "3")(volumes(1))
    assert isinstance(found, Tensor)
    assert not found.requires_grad
    np.testing.assert_allclose(found.amax(), 1)
