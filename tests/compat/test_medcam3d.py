"""medcam3d's calls: a program written for it, its formula in plain arrays, and what is wrong there."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camtool.compat.medcam3d import GradCAM
from camtool.compat.medcam3d.utils import model_targets
from camtool.compat.medcam3d.utils.image import cam_resize, scale_cam_image, show_cam_on_image
from camtool.compat.medcam3d.utils.model_targets import ClassifierOutputTarget, SemanticSegmentationTarget
from camtool.errors import ImageError, LayerError, MethodError, TargetError
from tests.compat.volumes import classifier, segmenter, volumes


def literal_maps(model: nn.Module, layers: list[nn.Module], inputs: Tensor, categories: list[int]) -> np.ndarray:
    """Return medcam3d's maps by its formula: weights by the mean gradient, relu, resize, mean over layers."""
    kept: list[Tensor] = []
    handles = [layer.register_forward_hook(lambda _, __, output: kept.append(output)) for layer in layers]
    outputs = model(inputs)
    loss = sum(output[category] for output, category in zip(outputs, categories, strict=True))
    gradients = torch.autograd.grad(loss, kept)
    for handle in handles:
        handle.remove()
    maps = []
    for activation, gradient in zip(kept, gradients, strict=True):
        weights = gradient.numpy().mean(axis=(2, 3, 4))
        cam = np.maximum((weights[:, :, None, None, None] * activation.detach().numpy()).sum(axis=1), 0)
        maps.append(F.interpolate(torch.from_numpy(cam)[:, None], inputs.shape[2:], mode="trilinear")[:, 0].numpy())
    return np.mean(maps, axis=0)


def test_a_program_written_for_medcam3d_runs() -> None:
    model = classifier()
    target_layers = [model[3]]
    input_tensor = volumes(1)
    cam = GradCAM(model=model, target_layers=target_layers, use_cuda=False)
    targets = [ClassifierOutputTarget(2)]
    cam_img = cam(input_tensor=input_tensor, targets=targets)
    cam_img = cam_img[0]
    image = np.repeat(input_tensor[0, 0, 4].sigmoid().numpy()[..., None], 3, axis=2)
    picture = show_cam_on_image(image, scale_cam_image(cam_img[None])[0, 4], use_rgb=True)
    assert cam_img.shape == (8, 10, 12)
    assert cam_img.dtype == np.float32
    assert picture.shape == (10, 12, 3)


@pytest.mark.parametrize("layers", [(3,), (1, 3), (3, 1)])
def test_maps_equal_medcam3ds_formula(layers: tuple[int, ...]) -> None:
    model, inputs = classifier(), volumes(3)
    chosen = [model[k] for k in layers]
    found = GradCAM(model, chosen)(inputs, [ClassifierOutputTarget(k) for k in (2, 0, 1)])
    expected = literal_maps(model, chosen, inputs, [2, 0, 1])
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_without_targets_the_predicted_class_is_explained() -> None:
    model, inputs = classifier(), volumes(3)
    with GradCAM(model, [model[3]]) as cam:
        found = cam(inputs)
    np.testing.assert_allclose(found, literal_maps(model, [model[3]], inputs, model(inputs).argmax(dim=1).tolist()), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("count", [1, 4])
def test_targets_that_are_not_one_for_each_sample_are_refused(count: int) -> None:
    model = classifier()
    with pytest.raises(TargetError, match=f"one target per sample: 3 samples, {count} targets"):
        GradCAM(model, [model[3]])(volumes(3), [ClassifierOutputTarget(0)] * count)


def test_a_class_that_does_not_exist_and_a_layer_of_another_model_are_refused() -> None:
    model = classifier()
    with pytest.raises(TargetError, match="Class index 7 is out of range"):
        GradCAM(model, [model[3]])(volumes(1), [ClassifierOutputTarget(7)])
    with pytest.raises(LayerError, match="not part of this Sequential"):
        GradCAM(model, [nn.ReLU()])


def test_a_mask_chooses_what_of_a_segmentation_is_explained() -> None:
    model, inputs = segmenter(), volumes(1)
    mask = np.zeros((8, 10, 12), np.float32)
    mask[2:5, 3:8, 4:9] = 1
    found = GradCAM(model, ["[1]"])(inputs, [SemanticSegmentationTarget(1, mask)])
    kept: list[Tensor] = []
    handle = model[1].register_forward_hook(lambda _, __, output: kept.append(output))
    score = (model(inputs)[0, 1] * torch.from_numpy(mask)).sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept)
    expected = (gradient.mean(dim=(2, 3, 4), keepdim=True) * kept[0]).sum(dim=1).clamp(min=0)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_smooth_maps_are_the_mean_of_six_copies_for_the_first_ones_class() -> None:
    model, inputs = classifier(), volumes(2)
    found = GradCAM(model, [model[3]])(inputs, aug_smooth=True)
    classes = model(inputs).argmax(dim=1).tolist()
    expected = []
    for factor in (0.9, 1.0, 1.1):
        expected.append(literal_maps(model, [model[3]], inputs * factor, classes))
        expected.append(literal_maps(model, [model[3]], inputs.flip(-1) * factor, classes)[..., ::-1])
    np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-4, atol=1e-7)


def test_a_mask_is_mirrored_with_its_copy() -> None:
    model, inputs = segmenter(), volumes(1)
    mask = torch.zeros(8, 10, 12)
    mask[2:5, 3:8, :5] = 1
    plain, smooth = (GradCAM(model, ["[1]"])(inputs, [SemanticSegmentationTarget(1, mask)], aug_smooth=smooth) for smooth in (False, True))
    mirrored = GradCAM(model, ["[1]"])(inputs.flip(-1), [SemanticSegmentationTarget(1, mask.flip(-1))])
    assert smooth.shape == plain.shape
    brightened = [
        GradCAM(model, ["[1]"])(inputs * factor, [SemanticSegmentationTarget(1, mask)])
        + GradCAM(model, ["[1]"])(inputs.flip(-1) * factor, [SemanticSegmentationTarget(1, mask.flip(-1))])[..., ::-1]
        for factor in (0.9, 1.1)
    ]
    np.testing.assert_allclose(smooth, (plain + mirrored[..., ::-1] + sum(brightened)) / 6, rtol=1e-4, atol=1e-6)


def test_the_first_component_is_another_map() -> None:
    model, inputs = classifier(), volumes(1)
    cam = GradCAM(model, [model[3]])
    smooth = cam(inputs, eigen_smooth=True)
    assert smooth.min() >= 0
    assert not np.allclose(smooth, cam(inputs))


def test_the_model_stays_as_it_was() -> None:
    model = classifier().train()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    GradCAM(model, [model[3]])(volumes(2))
    assert model.training
    assert all(not module._forward_hooks for module in model.modules())
    assert all(bool((parameter.grad == 3).all()) for parameter in model.parameters())


def test_an_error_inside_of_with_is_raised() -> None:
    with pytest.raises(IndexError), GradCAM(classifier(), ["[3]"]):
        raise IndexError


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU where there is none")
def test_a_gpu_that_is_not_there_is_one_line() -> None:
    with pytest.raises(MethodError, match="try use_cuda=False"):
        GradCAM(classifier(), ["[3]"], use_cuda=True)


def test_targets_by_their_names_are_the_scores_they_say() -> None:
    scores = torch.tensor([0.5, 2.0, -1.0])
    assert model_targets.ClassifierOutputTarget(category=1)(scores) == 2
    torch.testing.assert_close(model_targets.ClassifierOutputSoftmaxTarget(category=1)(scores), scores.softmax(dim=0)[1])
    assert model_targets.BinaryClassifierOutputTarget(category=0)(scores[:1]) == -0.5
    assert model_targets.RawScoresOutputTarget()(scores[2:]) == -1
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0], [40.0, 40.0, 50.0, 50.0]])
    detections = {"boxes": boxes, "scores": torch.tensor([0.75, 0.5, 0.25]), "labels": torch.tensor([1, 2, 1])}
    assert model_targets.FasterRCNNBoxScoreTarget([1, 2], boxes[:2])(detections) == 1.25
    mirrored = model_targets.FasterRCNNBoxScoreTarget([1], boxes[:1]).flipped(width=50)
    assert mirrored.scores[0].box.tolist() == [40, 0, 50, 10]
    with pytest.raises(TargetError, match="at least one box"):
        model_targets.FasterRCNNBoxScoreTarget([], [])


def test_a_picture_of_a_map_is_pytorch_grad_cams() -> None:
    generator = np.random.default_rng(0)
    image, mask = generator.random((5, 6, 3), np.float32), generator.integers(0, 256, (5, 6)) / 255
    heat = cv2.applyColorMap(np.uint8(np.round(255 * mask)), cv2.COLORMAP_HOT).astype(np.float32) / 255
    mixed = 0.3 * heat + 0.7 * image
    expected = np.uint8(255 * (mixed / mixed.max()))
    found = show_cam_on_image(image, mask, colormap=cv2.COLORMAP_HOT, image_weight=0.7)
    assert np.abs(found.astype(int) - expected).max() <= 1  # its sum is float32's
    np.testing.assert_array_equal(show_cam_on_image(image[..., ::-1], mask, True, "hot", 0.7), found[..., ::-1])


def test_resizing_keeps_the_values_and_scaling_does_not() -> None:
    maps = np.array([[[0.0, 8.0]], [[2.0, 4.0]]], np.float32)
    np.testing.assert_allclose(cam_resize(maps, (1, 4)), [[[0, 2, 6, 8]], [[2, 2.5, 3.5, 4]]])
    np.testing.assert_allclose(scale_cam_image(maps, (1, 4)), [[[0, 0.25, 0.75, 1]]] * 2)


@pytest.mark.parametrize(
    ("image", "mask", "weight", "message"),
    [
        (np.ones((2, 2, 3)), np.ones((2, 3)), 0.5, "the picture's size, 2x2, got 2x3"),
        (np.full((2, 2, 3), 255.0), np.ones((2, 2)), 0.5, r"a picture in \[0, 1\], got 255 to 255"),
        (np.ones((2, 2, 3)), np.full((2, 2), 3.0), 0.5, r"a map in \[0, 1\], got 3 to 3"),
        (np.ones((2, 2, 3)), np.ones((2, 2)), 2.0, "image_weight from 0 to 1, got 2"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_one_line(image: np.ndarray, mask: np.ndarray, weight: float, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        show_cam_on_image(image, mask, image_weight=weight)
