"""Defects of pytorch-grad-cam 1.5.7 and torchcam that camtool must not have. Where it is cheap, the first is shown to have them."""

from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolWarning, LayerError, TargetError
from camtool.functional import first_component
from camtool.methods._noise import Noise
from tests.networks import autograd_evidence, contrary, images, small_net, small_vit

NOTHING: list[int] = []


def theirs(
    model: nn.Module, layer: nn.Module, inputs: Tensor, classes: list[int] | None, method: Any = peer.GradCAM, **options: Any
) -> Any:
    targets = None if classes is None else [ClassifierOutputTarget(index) for index in classes]
    with method(model=model, target_layers=[layer]) as cam:
        return cam(inputs, targets, **options)


def test_an_in_place_layer_behind_the_target_does_not_overwrite_its_activations() -> None:
    model, inputs = small_net(), images()
    activations, gradients, _ = autograd_evidence(model, model.early[1], inputs, [1, 1])
    assert (activations < 0).any()
    with peer.HiResCAM(model=model, target_layers=[model.early[1]]) as cam:
        cam(inputs, [ClassifierOutputTarget(1)] * 2)
        stored = cam.activations_and_grads.activations[0]
        assert (stored >= 0).all(), "theirs are those behind the ReLU"
    result = CAM(model, "early[1]", ["eigencam", "gradcam"])(inputs, 1)
    expected = (gradients.mean((2, 3), keepdim=True) * activations).sum(1)
    torch.testing.assert_close(result["gradcam"].raw["early[1]"], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(result["eigencam"].raw["early[1]"], first_component(activations), rtol=1e-4, atol=1e-5)


def test_fewer_targets_than_images_is_an_error_and_not_a_blank_map() -> None:
    model, inputs = small_net(), images()
    blank = theirs(model, model.early, inputs, [1], peer.LayerCAM)
    assert blank[0].max() > 0.9
    assert blank[1].max() == 0, "theirs is blank for the second image"
    with pytest.raises(TargetError, match="2 samples, 1 targets"):
        CAM(model, "early", "layercam")(inputs, [1])


def test_aug_smooth_explains_one_class_and_not_a_mixture() -> None:
    model, image = contrary()
    free = theirs(model, model.features, image, None, peer.HiResCAM, aug_smooth=True)
    fixed = theirs(model, model.features, image, [1], peer.HiResCAM, aug_smooth=True)
    assert np.abs(free - fixed).max() > 0.1, "theirs chooses anew in each pass"
    cam = CAM(model, "features", "hirescam", aug_smooth=True)
    assert torch.equal(cam(image).maps, cam(image, 1).maps)
    np.testing.assert_allclose(cam(image).maps.numpy(), fixed, atol=1e-5)


class Patches(nn.Module):
    """Patches of 16 as tokens behind a class token, as a ViT has them; the score is what the patches sum to."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        patches = nn.functional.avg_pool2d(image, 16).flatten(2).transpose(1, 2)
        tokens = self.tokens(torch.cat([torch.zeros_like(patches[:, :1]), patches], dim=1))
        return tokens[:, 1:].square().mean(1)


def test_196_tokens_of_a_7x28_grid_are_not_read_as_14x14() -> None:
    image = torch.zeros(1, 3, 112, 448)
    image[:, :, 16:32, 400:416] = 1  # row 1, column 25
    result = CAM(Patches(), "tokens", "hirescam")(image, 0)
    raw = result.raw["tokens"]
    assert raw.shape == (1, 7, 28)
    assert divmod(raw.flatten().argmax().item(), 28) == (1, 25)
    assert divmod(result.maps.flatten().argmax().item(), 448)[0] in range(16, 32)


def test_a_gradient_of_zero_is_an_error_and_not_a_blank_map() -> None:
    model, image = small_vit(), torch.randn(1, 3, 64, 64)
    last = model.encoder.layers[-1]
    with peer.GradCAM(
        model=model, target_layers=[last], reshape_transform=lambda tokens: tokens[:, 1:].unflatten(1, (4, 4)).movedim(-1, 1)
    ) as cam:
        assert cam(image, [ClassifierOutputTarget(1)]).max() == 0, "theirs is blank: only the class token is read"
    with pytest.raises(LayerError, match=r"gradient of exactly zero at every position.*the first norm of the last block"):
        CAM(model, "encoder.layers[-1]")(image, 1)


def test_the_sign_of_a_principal_component_means_something() -> None:
    maps = torch.randn(32, 3, 4, 4).abs()
    total = maps.sum(1) - maps.sum((1, 2, 3)).view(-1, 1, 1) / 16
    their_signs = np.sign((get_2d_projection(maps.numpy()) * total.numpy()).sum((1, 2)))
    assert set(their_signs) == {-1, 1}, "theirs is bright where the network is active on some images, dark on others"
    assert ((first_component(maps) * total).sum((1, 2)) > 0).all()


def test_the_users_model_is_neither_put_in_eval_mode_nor_given_gradients() -> None:
    model = small_net().train()
    peer.GradCAM(model=model, target_layers=[model.late])(images(), [ClassifierOutputTarget(1)] * 2)
    assert not model.training, "theirs stays in eval mode"
    assert model.fc.weight.grad is not None, "theirs leaves gradients in the parameters"
    model = small_net().train()
    CAM(model, "early", "layercam")(images(), 1)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_index_error_of_the_user_is_not_swallowed(capsys: pytest.CaptureFixture[str]) -> None:
    model = small_net()
    with peer.GradCAM(model=model, target_layers=[model.late]):
        NOTHING[0]
    assert "IndexError" in capsys.readouterr().out, "theirs prints it and goes on"
    with pytest.raises(IndexError), CAM(model, "late"):
        NOTHING[0]


def test_bfloat16_does_not_crash() -> None:
    model, inputs = small_net().bfloat16(), images().bfloat16()
    with pytest.raises(TypeError, match="BFloat16"):
        theirs(model, model.early, inputs, [1, 1])
    assert CAM(model, "early", "layercam")(inputs, 1).maps.amax() > 0.9


def test_frozen_parameters_do_not_crash() -> None:
    model = small_net().requires_grad_(False)
    with pytest.raises(RuntimeError, match="does not require grad"):
        theirs(model, model.early, images(), [1, 1])
    assert CAM(model, "early", "layercam")(images(), 1).maps.amax() > 0.9


def test_a_numpy_class_is_a_class() -> None:
    model = small_net()
    classes = np.array([1, 2])
    for targets in (classes, list(classes), classes[0]):
        assert CAM(model, "early", "layercam")(images(), targets).maps.amax() > 0.9


def test_a_blank_map_in_float16_is_zero_and_not_nan() -> None:
    model = small_net().half()
    with torch.no_grad():
        model.fc.weight.fill_(-1)
    with pytest.warns(CamtoolWarning, match="no positive evidence"):
        result = CAM(model, "late")(images().half(), 1)
    assert (result.maps == 0).all()


def test_several_classes_are_several_maps() -> None:
    result = CAM(small_net(), "early", "layercam")(images(count=1), [[0, 1, 2]])
    maps = result.maps[0]
    assert len(maps) == 3
    assert all(not torch.equal(maps[one], maps[other]) for one, other in ((0, 1), (0, 2), (1, 2)))


def test_nothing_of_a_call_is_kept_by_the_engine() -> None:
    # Memory that grows over a dataset: what a call captured must be gone with its result.
    import weakref

    model = small_net()
    cam, kept = CAM(model, "early", "layercam"), []
    handle = model.late.register_forward_hook(lambda *call: kept.append(weakref.ref(call[-1])))
    cam(images(), 1)
    handle.remove()
    assert kept
    assert kept[0]() is None


def test_smoothgradcam_plus_plus_gives_every_noisy_sample_the_same_say(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchcam.methods import SmoothGradCAMpp

    model, image = small_net(), images(count=1)
    draws = [torch.randn_like(image) for _ in range(4)]

    def of_theirs(order: list[Tensor]) -> Tensor:
        with SmoothGradCAMpp(model, "early", num_samples=4) as extractor:
            left = list(order)
            extractor._distrib.sample = lambda _: left.pop(0)
            (found,) = extractor(1, model(image))
        return found

    def of_ours(order: list[Tensor]) -> Tensor:
        monkeypatch.setattr(Noise, "copies", lambda _, inputs: [inputs + draw for draw in order])
        return CAM(model, "early", "smoothgradcam++")(image, 1).maps

    assert (of_theirs(draws) - of_theirs(draws[::-1])).abs().max() > 0.05, "theirs is made of the last one"
    torch.testing.assert_close(of_ours(draws), of_ours(draws[::-1]))
