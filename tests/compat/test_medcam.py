"""M3d-Cam's calls: a program written for it, its formulas in plain loops over samples, its files and scores, and what is wrong there."""

import copy
import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camtool.compat import medcam
from camtool.compat.medcam.injection import NAMES
from camtool.errors import CamtoolError, CamtoolWarning, DataError, LayerError, MethodError, OutputError, TargetError
from camtool.io.volumes import Geometry, Volume
from tests.compat.volumes import classifier, segmenter, volumes

pytestmark = pytest.mark.filterwarnings("ignore:.*no positive evidence:camtool.errors.CamtoolWarning")


def literal(model: nn.Module, layer: nn.Module, inputs: Tensor, masks: Tensor, *, guided: bool = False) -> tuple[Tensor, Tensor]:
    """Return activations and their gradients of sum(output * mask), or with `guided` inputs and theirs through guided ReLUs."""
    kept: list[Tensor] = []
    handles = [layer.register_forward_hook(lambda _, __, output: kept.append(output))]
    relus = [module for module in model.modules() if guided and isinstance(module, nn.ReLU)]
    handles += [relu.register_full_backward_hook(lambda _, gradients, __: (gradients[0].clamp(min=0),)) for relu in relus]
    leaf = inputs.clone().requires_grad_()
    total = (model(leaf) * masks).sum()
    chosen = leaf if guided else kept[0]
    (gradient,) = torch.autograd.grad(total, chosen)
    for handle in handles:
        handle.remove()
    return chosen.detach(), gradient


def to_range(maps: Tensor) -> Tensor:
    return torch.stack([(one - one.min()) / (one.max() - one.min()) for one in maps])


def literal_gcam(model: nn.Module, layer: nn.Module, inputs: Tensor, masks: Tensor) -> Tensor:
    activations, gradients = literal(model, layer, inputs, masks)
    weights = gradients.flatten(2).mean(dim=2)
    maps = [sum(w * a for w, a in zip(ws, channels, strict=True)).clamp(min=0) for ws, channels in zip(weights, activations, strict=True)]
    return to_range(torch.stack(maps)).unsqueeze(1)


def literal_gbp(model: nn.Module, layer: nn.Module, inputs: Tensor, masks: Tensor) -> Tensor:
    return to_range(literal(model, layer, inputs, masks, guided=True)[1].mean(dim=1, keepdim=True))


def literal_ggcam(model: nn.Module, layer: nn.Module, inputs: Tensor, masks: Tensor) -> Tensor:
    guided = literal(model, layer, inputs, masks, guided=True)[1].mean(dim=1, keepdim=True)
    large = F.interpolate(literal_gcam(model, layer, inputs, masks), inputs.shape[2:], mode="trilinear")
    return to_range(large * guided)


REPLICAS = {"gcam": literal_gcam, "gbp": literal_gbp, "ggcam": literal_ggcam}


def one_hot(scores: Tensor, classes: list[int]) -> Tensor:
    mask = torch.zeros_like(scores)
    for sample, index in enumerate(classes):
        mask[sample, index] = 1
    return mask


def test_a_program_written_for_m3d_cam_runs(tmp_path: Path) -> None:
    model = classifier()
    model = medcam.inject(model, output_dir=str(tmp_path), backend="gcam", layer="auto", label="best", save_maps=True, evaluate=True)
    model.eval()
    for batch in volumes(2).split(1):
        output = model(batch, mask=torch.ones(1, 1, 8, 10, 12))
        assert output.shape == (1, 3)
    attention = model.get_attention_map()
    model.disable_medcam()
    model(volumes(1))
    model.dump()
    assert attention.shape == (1, 1, 4, 5, 6)
    assert attention.min() == 0
    assert attention.max() == 1
    assert sorted(path.name for path in (tmp_path / "3").iterdir()) == ["attention_map_0_0_0.nii.gz", "attention_map_1_0_0.nii.gz"]


@pytest.mark.parametrize("backend", REPLICAS)
@pytest.mark.parametrize("layer", ["1", "3"])
def test_maps_of_a_classifier_equal_m3d_cams_formula(backend: str, layer: str) -> None:
    model, inputs = classifier(), volumes(3)
    masks = one_hot(model(inputs), model(inputs).argmax(dim=1).tolist())
    expected = REPLICAS[backend](model, model.get_submodule(layer), inputs, masks)
    for label in (None, "best"):
        injected = medcam.inject(model, backend=backend, layer=layer, label=label)
        injected(inputs)
        np.testing.assert_allclose(injected.get_attention_map(), expected, rtol=1e-4, atol=1e-5)
    injected(inputs, label=2)
    expected = REPLICAS[backend](model, model.get_submodule(layer), inputs, one_hot(model(inputs), [2, 2, 2]))
    np.testing.assert_allclose(injected.get_attention_map(), expected, rtol=1e-4, atol=1e-5)


LABELS: dict[str, tuple[Any, Callable[[Tensor], Tensor]]] = {
    "all": (None, torch.ones_like),
    "best": ("best", lambda scores: one_hot(scores, scores.flatten(2).sum(dim=2).argmax(dim=1).tolist())),
    "class": (1, lambda scores: one_hot(scores, [1, 1])),
    "classes": ([0, 1], torch.ones_like),
    "function": (lambda scores: scores > 0.1, lambda scores: (scores > 0.1).float()),
}


@pytest.mark.parametrize("backend", REPLICAS)
@pytest.mark.parametrize("name", LABELS)
def test_maps_of_a_segmentation_equal_m3d_cams_formula(backend: str, name: str) -> None:
    label, mask_of = LABELS[name]
    model, inputs = segmenter(), volumes(2)
    expected = REPLICAS[backend](model, model[1], inputs, mask_of(model(inputs).detach()))
    injected = medcam.inject(model, backend=backend, layer="1", label=label)
    injected(inputs)
    np.testing.assert_allclose(injected.get_attention_map(), expected, rtol=1e-4, atol=1e-5)


def test_grad_cam_plus_plus_is_a_map_of_its_own() -> None:
    model, inputs = classifier(), volumes(2)
    maps = []
    for backend in ("gcam", "gcampp"):
        injected = medcam.inject(model, backend=backend, layer="3", label=0)
        injected(inputs)
        maps.append(injected.get_attention_map())
    assert maps[1].shape == maps[0].shape == (2, 1, 4, 5, 6)
    assert not np.allclose(*maps)
    np.testing.assert_allclose([one.max() for one in maps[1]], 1)


class Own(nn.Sequential):
    """A class of one's own."""


def test_the_copy_has_the_class_keys_and_output_of_the_model_and_the_model_stays_as_it_is() -> None:
    model = Own(*classifier(), nn.Dropout()).train()
    before = set(vars(model))
    injected = medcam.inject(model, layer="3")
    assert type(injected) is Own
    assert list(injected.state_dict()) == list(model.state_dict())
    assert set(vars(model)) == before
    inputs = volumes(2)
    output = injected(inputs)
    assert model.training
    assert all(module.training for module in model.modules())  # and the output is that of eval mode all the same
    torch.testing.assert_close(output, model.eval()(inputs), rtol=0, atol=0)
    assert output.requires_grad
    assert set(vars(model)) == before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert medcam.inject(injected) is injected


def test_a_copy_that_is_put_in_train_mode_trains() -> None:
    model = Own(*classifier(), nn.Dropout())
    injected = medcam.inject(model, layer="3", enabled=False).train()
    torch.manual_seed(0)
    found = injected(volumes(2))
    torch.manual_seed(0)
    torch.testing.assert_close(found, model.train()(volumes(2)), rtol=0, atol=0)
    assert (found == 0).any()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_maps_are_made_whatever_the_callers_grad_mode(mode: Callable[[], Any]) -> None:
    model, inputs = classifier(), volumes(2)
    injected = medcam.inject(model, layer="3")
    injected(inputs)
    expected = injected.get_attention_map()
    with mode():
        assert not injected(inputs).requires_grad
    np.testing.assert_array_equal(injected.get_attention_map(), expected)


def test_there_is_no_hook_after_any_call_and_none_that_acts_when_disabled() -> None:
    model, inputs = classifier(), volumes(1)
    injected = medcam.inject(model, layer="full", backend="ggcam")

    def hooks() -> int:
        parts = [*model.modules(), *injected.modules()]
        return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks) for part in parts)

    injected(inputs)
    assert hooks() == 0
    injected.disable_medcam()
    maps = injected.get_attention_map()
    assert hooks() == 0
    other = 2 * inputs.flip(-1)
    torch.testing.assert_close(injected(other), model(other), rtol=0, atol=0)
    np.testing.assert_equal(injected.get_attention_map(), maps)
    injected.enable_medcam()
    injected(other)
    assert any(not np.array_equal(injected.get_attention_map()[name], maps[name]) for name in maps)


def test_a_hook_of_the_models_own_runs_once_and_an_injected_copy_can_be_copied() -> None:
    model, calls = classifier(), []
    injected = medcam.inject(model, layer="3", enabled=False)
    model.register_forward_hook(lambda *_: calls.append(1))
    injected(volumes(1))
    assert len(calls) == 1
    copied = copy.deepcopy(injected)
    with torch.no_grad():
        copied[0].weight.zero_()
    assert not torch.equal(copied(volumes(1)), model(volumes(1)))


def test_full_has_the_maps_of_every_layer_by_torchs_names() -> None:
    model, inputs = classifier(), volumes(2)
    injected = medcam.inject(model, layer="full", label=1)
    assert injected.test_run(inputs) == ["0", "1", "2", "3"]
    injected(inputs)
    for name, maps in injected.get_attention_map().items():
        expected = literal_gcam(model, model.get_submodule(name), inputs, one_hot(model(inputs), [1, 1]))
        np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(MethodError, match="one layer whose map is returned, got 4; try layer='auto'"):
        medcam.inject(model, layer="full", replace=True)(inputs)


def test_auto_is_found_once_and_layers_are_listed_behind_their_parts() -> None:
    model = nn.Sequential(nn.Sequential(*classifier()[:4]), *classifier()[4:]).eval()
    injected = medcam.inject(model, label=0)
    assert injected.get_layers() == ["0.0", "0.1", "0.2", "0.3", "0", "1", "2", "3"]
    assert injected.get_layers(reverse=True) == injected.get_layers()[::-1] == medcam.get_layers(model, reverse=True)
    assert injected.get_attention_map() is None
    assert injected.test_run(volumes(1)) == ["0"]
    passes: list[int] = []
    model.register_forward_hook(lambda *_: passes.append(1))
    injected(volumes(1))
    assert len(passes) == 2  # the output and the map; the layer is known


def test_the_map_is_returned_in_place_of_the_output_or_beside_it() -> None:
    model, inputs = classifier(), volumes(2)
    beside = medcam.inject(model, layer="3", label=0, return_attention=True)
    output, attention = beside(inputs)
    torch.testing.assert_close(output, model(inputs))
    small = torch.from_numpy(beside.get_attention_map())
    torch.testing.assert_close(attention, F.interpolate(small, (8, 10, 12), mode="trilinear"))
    beside.replace_output(True)
    torch.testing.assert_close(beside(inputs), attention)
    assert medcam.inject(model, layer="3", replace=True, data_shape=(4, 4, 4))(inputs).shape == (2, 1, 4, 4, 4)


def test_evaluation_scores_every_map_and_writes_tables(tmp_path: Path) -> None:
    model, inputs = classifier(), volumes(2)
    masks = torch.zeros(2, 1, 8, 10, 12, dtype=torch.uint8)
    masks[..., 2:6, 3:8, 3:9] = 1
    injected = medcam.inject(
        model, tmp_path, layer=["1", "3"], label=0, evaluate=True, metric="ioa", threshold=0.5, save_scores=True, return_score=True
    )
    _, scores = injected(inputs, mask=masks)
    for name, found in scores.items():
        maps = F.interpolate(torch.from_numpy(injected.get_attention_map()[name]), (8, 10, 12), mode="trilinear")
        for one, mask, score in zip(maps, masks, found, strict=True):
            attended = (one - one.min()) / (one.max() - one.min()) >= 0.5
            assert score == pytest.approx(float((attended & (mask == 1)).sum() / attended.sum()))
    injected.dump()
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [(row["layer"], row["name"]) for row in rows] == [("1", "0_0"), ("1", "0_1"), ("3", "0_0"), ("3", "0_1")]
    assert [float(row["evaluation"]) for row in rows] == pytest.approx([*scores["1"], *scores["3"]])
    (mean, _) = csv.DictReader((tmp_path / "mean_scores.csv").open())
    assert float(mean["mean_score"]) == pytest.approx(sum(scores["1"]) / 2)
    shared = medcam.inject(
        model, layer="1", label=0, evaluate=True, metric=lambda one, mask: (one * mask).sum() / one.sum(), return_score=True
    )
    found = shared(inputs, mask=masks[:, 0])[1]["1"]
    large = F.interpolate(torch.from_numpy(shared.get_attention_map()), (8, 10, 12), mode="trilinear")
    assert found == pytest.approx([float((one * mask).sum() / one.sum()) for one, mask in zip(large, masks, strict=True)], rel=1e-5)


def test_a_map_or_mask_of_nothing_has_no_score() -> None:
    assert math.isnan(medcam.compute_score(np.zeros((4, 4)), np.eye(4)))
    with pytest.warns(CamtoolWarning, match="An empty mask has no overlap"):
        assert math.isnan(medcam.compute_score(np.eye(4), np.zeros((4, 4))))


def test_scores_resize_the_map_and_take_the_size_of_signed_values() -> None:
    mask = np.zeros((1, 4, 4), np.uint8)
    mask[..., 2:, 2:] = 1
    assert medcam.compute_score(np.array([[0.0, 0.0], [0.0, -2.0]]), mask, "iou", 0.9) == pytest.approx(1 / 4)
    assert medcam.compute_score(np.array([[0.0, 0.0], [0.0, -2.0]]), mask, "ioa", 0.9) == 1
    with pytest.raises(DataError, match=r"a mask of the map's number of axes, 2, got shape \(3, 4, 4\)"):
        medcam.compute_score(np.eye(4), np.zeros((3, 4, 4)))


def test_written_maps_have_the_geometry_of_the_input(tmp_path: Path) -> None:
    model, inputs = classifier(), volumes(1)
    affine = np.array([[-0.8, 0.1, 0, 30], [0.2, 0.9, 0, -20], [0, 0, 2.5, 7], [0, 0, 0, 1]])
    injected = medcam.inject(model, tmp_path, layer="3", save_maps=True)
    injected(inputs)
    injected(inputs, raw_input=[Volume(inputs[0, 0].numpy(), Geometry(affine), "scan.nii")])
    with_affine = inputs.clone()
    with_affine.affine = torch.from_numpy(affine).float()  # as MONAI's MetaTensor
    injected(with_affine)
    written = [nibabel.load(tmp_path / "3" / f"attention_map_{number}_0_0.nii.gz") for number in range(3)]
    for image, expected in zip(written, (np.eye(4), affine, affine), strict=True):
        np.testing.assert_allclose(image.affine, expected, atol=1e-5)
        large = F.interpolate(torch.from_numpy(injected.get_attention_map()), (8, 10, 12), mode="trilinear")
        np.testing.assert_allclose(image.get_fdata(), large[0, 0].numpy(), atol=1e-6)
    with pytest.raises(DataError, match=r"a volume of the batch's size, 8x10x12, got 4x4x4 \('scan.nii'\)"):
        injected(inputs, raw_input=Volume(np.zeros((4, 4, 4)), None, "scan.nii"))


def flat_classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


def test_maps_of_pictures_are_pictures_over_the_raw_input(tmp_path: Path) -> None:
    pictures = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    injected = medcam.inject(flat_classifier(), tmp_path, layer="1", save_maps=True)
    injected(pictures)
    injected(pictures, raw_input=pictures)
    injected(pictures, raw_input=(pictures * 255).round().permute(0, 2, 3, 1).byte().numpy())
    alone, over, same = (cv2.imread(str(tmp_path / "1" / f"attention_map_{number}_0_0.png")) for number in range(3))
    assert alone.shape == (12, 16, 3)
    picture = (pictures[0].permute(1, 2, 0).numpy()[..., ::-1] * 255).round()
    assert np.abs(over.astype(float) - (alone / 2 + picture / 2)).max() <= 1
    np.testing.assert_array_equal(over, same)
    with pytest.raises(DataError, match="a raw input of the map's size, 12x16"):
        injected(pictures, raw_input=pictures[..., :8])


def test_maps_are_archived_without_a_pickle(tmp_path: Path) -> None:
    with pytest.warns(CamtoolWarning, match="No pickle is written"):
        injected = medcam.inject(classifier(), tmp_path, layer="3", save_pickle=True)
    injected(volumes(2))
    injected.dump()
    with np.load(tmp_path / "attention_maps.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(np.stack([archive["arr_0"], archive["arr_1"]]), injected.get_attention_map()[:, 0])


def test_one_map_can_be_saved_and_layers_are_registered_in_a_file(tmp_path: Path) -> None:
    injected = medcam.inject(classifier(), tmp_path, layer="full")
    assert injected.test_run(volumes(1)) == (tmp_path / "registered_layers.txt").read_text().split()
    injected = medcam.inject(classifier(), tmp_path, layer="3")
    injected(volumes(1))
    injected.save_attention_map(np.arange(8.0).reshape(2, 2, 2))
    found = nibabel.load(tmp_path / "3" / "attention_map_1.nii.gz").get_fdata()
    np.testing.assert_allclose(found, np.arange(8).reshape(2, 2, 2) / 7, atol=1e-6)


def test_cudnn_is_off_in_calls_alone() -> None:
    seen: list[bool] = []
    model = classifier()
    model.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.enabled))
    medcam.inject(model, layer="3", cudnn=False)(volumes(1))
    assert set(seen[:-1]) == {False}  # the last is the copy's own, behind the call
    assert torch.backends.cudnn.enabled


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"backend": "gradcam"}, MethodError, "No backend 'gradcam'; closest: 'gcam'"),
        ({"layer": "layer9"}, LayerError, "No layer 'layer9'"),
        ({"label": "bset"}, TargetError, "No label 'bset'; closest: 'best'"),
        ({"metric": "dice"}, DataError, "No metric 'dice'; expected one of wioa, ioa, iou"),
        ({"save_maps": True}, OutputError, "Expected output_dir"),
        ({"return_score": True}, DataError, "Expected evaluate=True"),
    ],
)
def test_settings_that_are_wrong_are_refused_at_once(arguments: dict[str, Any], error: type[CamtoolError], message: str) -> None:
    with pytest.raises(error, match=message):
        medcam.inject(classifier(), **arguments)


@pytest.mark.parametrize(
    ("arguments", "call", "error", "message"),
    [
        ({"label": 7}, {}, TargetError, "Label 7 is out of range: the network has 3 classes"),
        ({"label": lambda scores: scores[:, 0]}, {}, TargetError, r"Expected a mask of the output, \(2, 3\), from the label"),
        ({"evaluate": True}, {}, DataError, "a mask of each sample in a call with evaluate=True"),
        ({"evaluate": True}, {"mask": torch.ones(1, 8, 10, 12)}, DataError, "a mask of each of 2 samples, got 1"),
        ({"evaluate": True}, {"mask": 3 * torch.ones(2, 1, 8, 10, 12)}, DataError, "Expected a mask of 0 and 1"),
    ],
)
def test_calls_that_cannot_be_are_refused(arguments: dict[str, Any], call: dict[str, Any], error: type[CamtoolError], message: str) -> None:
    injected = medcam.inject(classifier(), layer="3", **arguments)
    with pytest.raises(error, match=message):
        injected(volumes(2), **call)


def test_the_injected_attributes_are_listed() -> None:
    model = classifier()
    assert set(vars(medcam.inject(model))) - set(vars(model)) == set(NAMES)
