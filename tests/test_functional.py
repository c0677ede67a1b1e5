"""The mathematics by itself: hand values, and the libraries that define what is meant."""

import cv2
import numpy as np
import pytest
import torch

from camtool.functional import first_component, fuse, min_max, resize, spatial_axes, spatial_mean, spatial_sum
from camtool.methods import SegEigenCAM
from camtool.methods.activation.kpca_cam import first_kernel_component


def test_spatial_sum_and_mean_keep_their_axes() -> None:
    maps = torch.arange(24.0).view(1, 2, 3, 4)
    assert spatial_axes(maps) == (2, 3)
    assert spatial_sum(maps).tolist() == [[[[66.0]], [[210.0]]]]
    assert spatial_mean(maps).tolist() == [[[[5.5]], [[17.5]]]]


def test_min_max_scales_each_sample_by_itself() -> None:
    maps = torch.tensor([[[1.0, 3.0]], [[-20.0, 20.0]]])
    torch.testing.assert_close(min_max(maps), torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]]))


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_min_max_of_a_constant_map_is_zero_and_not_nan(value: float, dtype: torch.dtype) -> None:
    assert (min_max(torch.full((2, 3, 3), value, dtype=dtype)) == 0).all()


@pytest.mark.parametrize("highest", [1e30, 1.0, 1e-7, 1e-30])
def test_min_max_reaches_1_however_small_the_values_are(highest: float) -> None:
    assert min_max(torch.tensor([[0.0, 0.25, 1.0]]) * highest).tolist() == [[0.0, 0.25, 1.0]]


@pytest.mark.parametrize(("source", "size"), [((7, 7), (224, 224)), ((5, 9), (33, 20)), ((14, 28), (7, 7)), ((1, 4), (3, 8))])
def test_resize_equals_cv2_resize(source: tuple[int, int], size: tuple[int, int]) -> None:
    maps = torch.rand(2, *source)
    expected = np.stack([cv2.resize(one.numpy(), size[::-1], interpolation=cv2.INTER_LINEAR) for one in maps])
    np.testing.assert_allclose(resize(maps, size).numpy(), expected, atol=1e-6)


def test_resize_by_hand_in_one_axis() -> None:
    # Centres of 4 cells over 2: -0.25, 0.25, 0.75, 1.25; the outer ones repeat the edge.
    assert resize(torch.tensor([[0.0, 1.0]]), [4]).tolist() == [[0.0, 0.25, 0.75, 1.0]]


def test_resize_of_a_volume_never_overshoots() -> None:
    maps = torch.rand(1, 3, 4, 5)
    resized = resize(maps, (12, 9, 7))
    assert resized.shape == (1, 12, 9, 7)
    assert resized.amin() >= maps.amin()
    assert resized.amax() <= maps.amax()


def test_fuse_is_the_scaled_mean_of_the_positive_parts() -> None:
    layers = [torch.tensor([[0.0, 1.0, -5.0]]), torch.tensor([[1.0, 1.0, 0.0]])]
    torch.testing.assert_close(fuse(layers), torch.tensor([[0.5, 1.0, 0.0]]))


@pytest.mark.parametrize("channels", [3, 40], ids=["fewer channels than positions", "more channels than positions"])
def test_first_component_equals_the_svd_up_to_sign(channels: int) -> None:
    maps = torch.randn(2, channels, 4, 5, dtype=torch.float64)
    points = maps.flatten(2).transpose(1, 2)
    centred = points - points.mean(dim=1, keepdim=True)
    _, _, right = torch.linalg.svd(centred)
    expected = (centred @ right[:, 0].unsqueeze(2)).squeeze(2).view(2, 4, 5)
    actual = first_component(maps)
    for sample in range(2):
        sign = torch.sign((actual[sample] * expected[sample]).sum())
        torch.testing.assert_close(actual[sample], sign * expected[sample])


@pytest.mark.parametrize("channels", [3, 40])
def test_first_component_correlates_with_the_channel_sum_and_turns_with_it(channels: int) -> None:
    maps = torch.randn(8, channels, 4, 5)
    component = first_component(maps)
    total = maps.sum(dim=1)
    centred = total - total.mean(dim=(1, 2), keepdim=True)
    assert ((component * centred).sum(dim=(1, 2)) > 0).all()
    torch.testing.assert_close(first_component(-maps), -component)


def test_first_component_does_not_depend_on_an_offset_of_a_channel() -> None:
    maps = torch.randn(1, 3, 4, 5)
    offset = torch.tensor([1000.0, 0.0, -5.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(first_component(maps + offset), first_component(maps), rtol=1e-3, atol=1e-3)


def test_first_component_counts_nan_as_zero() -> None:
    maps = torch.randn(1, 3, 2, 2)
    maps[0, 1, 0, 0] = torch.nan
    zeroed = maps.nan_to_num(nan=0.0)
    assert torch.equal(first_component(maps), first_component(zeroed))


def test_first_component_of_constant_channels_is_zero() -> None:
    component = first_component(torch.ones(1, 3, 2, 2))
    torch.testing.assert_close(component, torch.zeros(1, 2, 2))


def test_first_component_of_float32_maps_is_as_exact_as_float64() -> None:
    # A ViT's activations: a few channels a hundred times larger than the rest.
    maps = torch.randn(1, 192, 14, 14) + 100 * torch.randn(1, 192, 1, 1)
    exact = first_component(maps.double())
    torch.testing.assert_close(first_component(maps).double(), exact, rtol=0, atol=1e-6 * exact.abs().amax().item())


@pytest.mark.parametrize("channels", [16, 96, 768])
def test_the_sign_of_a_component_is_not_turned_by_rounding_where_the_channel_sum_is_zero(channels: int) -> None:
    # As behind a layer norm with fresh weights: the sum over channels is rounding at every position.
    maps = torch.nn.functional.layer_norm(torch.randn(64, 7, 7, channels), (channels,)).permute(0, 3, 1, 2)
    for component in (first_component, first_kernel_component):
        expected = component(maps)
        for _ in range(4):
            rounded = maps * (1 + 1e-6 * (2 * torch.rand_like(maps) - 1))
            assert ((component(rounded) * expected).sum(dim=(1, 2)) > 0).all()


def test_the_sign_of_a_component_is_decided_by_its_large_values_where_the_channel_sum_is_zero() -> None:
    # One position is apart from the others: its value is positive, whatever the sign of its channels.
    maps = torch.tensor([0.0, 0.0, 3.0, 0.0]).view(1, 1, 2, 2) * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
    assert first_component(maps)[0, 1, 0] > 0
    assert first_component(-maps)[0, 1, 0] > 0
    # As many values of one sign as of the other: the first is positive.
    even = torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(1, 1, 2, 2) * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
    assert first_component(even)[0, 0, 0] > 0
    assert first_component(-even)[0, 0, 0] > 0


def test_the_sign_of_seg_eigen_cam_is_not_turned_by_rounding_where_both_deviations_are_equal() -> None:
    # A map that is its own negative, turned round: the largest deviation has either sign.
    maps = torch.randn(64, 8, 1, 1) * torch.tensor([[-1.0, 0.3], [-0.3, 1.0]])
    expected = SegEigenCAM().collapse(maps)
    for _ in range(4):
        rounded = SegEigenCAM().collapse(maps * (1 + 1e-6 * (2 * torch.rand_like(maps) - 1)))
        assert ((rounded * expected).sum(dim=(1, 2)) > 0).all()
