"""Aug-smooth: the mean of six passes, with the classes of the first."""

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.targets import BoxScore, Region
from tests.networks import RANKS, contrary, images, small_net

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
METHODS = ["gradcam", "layercam", "eigencam"]


@pytest.mark.parametrize(("method", "rank"), [("layercam", rank) for rank in RANKS] + [("gradcam", 2), ("eigencam", 2)])
def test_aug_smooth_is_the_mean_over_flips_of_the_last_axis_and_three_factors(method: str, rank: int) -> None:
    model, inputs = small_net(rank), images(rank)
    plain, smooth = CAM(model, "early", method), CAM(model, "early", method, aug_smooth=True)
    passes = []
    for factor in (0.9, 1.0, 1.1):
        passes.append(plain(inputs * factor, [1, 2]).maps)
        passes.append(plain(inputs.flip(-1) * factor, [1, 2]).maps.flip(-1))
    result = smooth(inputs, [1, 2])
    torch.testing.assert_close(result.maps, torch.stack(passes).mean(dim=0))
    assert result.maps.shape == inputs[:, 0].shape
    torch.testing.assert_close(result.logits, plain(inputs, 1).logits, msg="the scores are those of the unchanged input")


def test_the_class_is_chosen_once_on_the_unchanged_input() -> None:
    model, image = contrary()
    cam = CAM(model, "features", "hirescam", aug_smooth=True)
    result = cam(image)
    assert result.targets == [1]
    torch.testing.assert_close(result.maps, cam(image, 1).maps)


def test_aug_smooth_takes_one_forward_pass_of_six_copies_for_any_number_of_methods_and_classes() -> None:
    model, batches = small_net(), []
    model.register_forward_hook(lambda *call: batches.append(len(call[-1])))
    cam = CAM(model, "early", METHODS, aug_smooth=True)
    cam(images(), [[0, 1, 2]] * 2)
    # Behind it the first picture beside a different one, and that one beside itself, without a graph: whether the copies in a batch are
    # independent of each other is asked in every call, because a forward of the user's own may couple samples for some inputs only.
    assert batches == [12, 2, 2]


def test_the_copies_are_checked_once_however_many_passes_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batches = small_net(), []
    model.register_forward_hook(lambda *call: batches.append(len(call[-1])))
    monkeypatch.setattr("camtool.attribution.augmentation.chunk_size", lambda _: 4)
    CAM(model, "early", METHODS, aug_smooth=True)(images(), 1)
    assert batches == [4, 2, 2, 4, 4]


def test_copies_that_do_not_fit_into_memory_go_one_behind_the_other() -> None:
    model, inputs, batches = small_net(), images(), []
    expected = CAM(model, "early", "smoothgradcam++", aug_smooth=True)(inputs)

    def refuse(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if len(arguments[0]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        batches.append(len(arguments[0]))

    model.register_forward_pre_hook(refuse)
    found = CAM(model, "early", "smoothgradcam++", aug_smooth=True)(inputs)
    torch.testing.assert_close(found.maps, expected.maps, rtol=1e-4, atol=1e-5)
    assert found.targets == expected.targets
    assert max(batches) == 4


class Segmenter(nn.Module):
    """Scores every position by its brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 2, 1)
        nn.init.ones_(self.layer.weight)

    def forward(self, image: Tensor) -> Tensor:
        return self.layer(image) ** 2


def test_a_target_with_a_place_is_mirrored_with_the_picture() -> None:
    mask = torch.zeros(8, 8)
    mask[:, :2] = 1
    result = CAM(Segmenter(), "layer", "hirescam", aug_smooth=True)(torch.rand(1, 1, 8, 8) + 0.5, Region(mask, 1))
    assert result.maps[..., :2].amin() > 0
    assert result.maps[..., 2:].amax() == 0
    mirrored = BoxScore([2, 1, 5, 4], 3).flipped(20)
    assert mirrored.box.tolist() == [15, 1, 18, 4]
    assert mirrored.label == 3
