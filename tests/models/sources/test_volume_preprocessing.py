"""Preprocessing of volumes: where its input lies on the scan, what it shows of it, and maps back on the scan's voxels."""

import math
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nibabel.processing import resample_from_to
from scipy.ndimage import map_coordinates

from camtool.errors import ConfigError, ImageError
from camtool.io.volumes import Geometry, Volume
from camtool.models.sources.volume_preprocessing import VolumePreprocess
from tests.volumes import ORIENTATIONS, random_geometry, stored, world_of

CASES = range(24)
PLAIN = Geometry(np.eye(4))


def scan_of(values: Any, geometry: Geometry | None = PLAIN) -> Volume:
    return Volume(np.asarray(values), geometry, "scan.nii")


def noise(shape: tuple[int, int, int], geometry: Geometry | None = PLAIN) -> Volume:
    return scan_of(np.random.default_rng(0).normal(size=shape).astype(np.float32), geometry)


def random_case(number: int, sides: tuple[int, int] = (9, 17)) -> tuple[dict[str, Any], Volume]:
    """Return a random description of geometric steps, and a scan of any orientation and spacing."""
    random = np.random.default_rng(number)
    spec: dict[str, Any] = {}
    if random.random() < 0.7:
        spec["orientation"] = "".join(random.permutation([random.choice(list(pair)) for pair in ("RL", "AP", "SI")]))
    if random.random() < 0.6:
        spec["axes"] = "".join(random.permutation(list("xyz")))
    if random.random() < 0.6:
        spec["spacing"] = [float(step) for step in random.uniform(0.7, 2.4, 3)]
    if random.random() < 0.5:
        spec["size"] = [int(side) for side in random.integers(7, 21, 3)]
    if random.random() < 0.6:
        spec["pad"] = [int(side) for side in random.integers(5, 25, 3)]
    if random.random() < 0.5:
        spec["crop"] = [int(side) for side in random.integers(4, 6, 3)]
    shape = tuple(int(side) for side in random.integers(*sides, 3))
    return spec, scan_of(random.normal(size=shape), random_geometry(random))


def positions(preprocess: VolumePreprocess, volume: Volume) -> np.ndarray:
    """Return the scan voxel of every voxel of the input, (*spatial, 3)."""
    affine = preprocess.affine(volume)
    indices = np.stack(np.indices(preprocess.grid(volume).sizes), axis=-1)
    return indices @ affine[:3, :3].T + affine[:3, 3]


def test_an_empty_description_feeds_the_array_as_it_lies() -> None:
    volume = scan_of(np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 5, None)
    inputs = VolumePreprocess({})(volume)
    assert (inputs.shape, inputs.dtype) == ((1, 1, 2, 3, 4), torch.float32)
    np.testing.assert_array_equal(inputs[0, 0].numpy(), volume.values)
    np.testing.assert_array_equal(VolumePreprocess({}).affine(volume), np.eye(4))


@pytest.mark.parametrize("number", CASES)
def test_values_are_those_that_nibabel_resamples_at_the_same_places(number: int) -> None:
    spec, volume = random_case(number)
    preprocess = VolumePreprocess({**spec, "pad_value": 77})
    inputs = preprocess(volume)[0, 0].numpy()
    image = nibabel.Nifti1Image(volume.values, volume.geometry.affine)  # type: ignore[union-attr]
    grid = (inputs.shape, volume.geometry.affine @ preprocess.affine(volume))  # type: ignore[union-attr]
    expected = resample_from_to(image, grid, order=1, mode="nearest").get_fdata()
    places = positions(preprocess, volume)
    seen = ((places > -0.5) & (places < np.array(volume.shape) - 0.5)).all(axis=-1)
    np.testing.assert_allclose(inputs[seen], expected[seen], atol=2e-5)
    assert (inputs[~seen] == 77).all()
    assert "pad" in spec or seen.all()


@pytest.mark.parametrize("number", CASES)
def test_maps_are_those_that_scipy_samples_and_nan_where_the_network_saw_nothing(number: int) -> None:
    spec, volume = random_case(number)
    preprocess = VolumePreprocess(spec)
    sizes = preprocess.grid(volume).sizes
    saliency = np.random.default_rng(number).random(sizes)
    on_scan = preprocess.to_scan(saliency, volume)
    inverse = np.linalg.inv(preprocess.affine(volume))
    places = np.stack(np.indices(volume.shape), axis=-1) @ inverse[:3, :3].T + inverse[:3, 3]
    expected = map_coordinates(saliency, np.moveaxis(places, -1, 0), order=1, mode="nearest")
    # Half a voxel beyond the outer centres is seen; whether that very border is, rounding decides.
    margin = np.minimum(places + 0.5, np.array(sizes) - 0.5 - places).min(axis=-1)
    np.testing.assert_array_equal(np.isnan(on_scan)[np.abs(margin) > 1e-9], (margin < 0)[np.abs(margin) > 1e-9])
    seen = ~np.isnan(on_scan)
    np.testing.assert_allclose(on_scan[seen], expected[seen], atol=2e-5)
    assert on_scan.dtype == np.float32


@pytest.mark.parametrize("number", CASES)
def test_a_ramp_over_the_world_survives_there_and_back(number: int) -> None:
    spec, volume = random_case(number)
    slope = np.random.default_rng(number).normal(size=3)
    ramp = Volume(world_of(volume) @ slope, volume.geometry, "ramp")
    preprocess = VolumePreprocess(spec)
    inputs = preprocess(ramp)[0, 0].numpy()
    # In the input: the ramp at the world position that the affine names.
    places = positions(preprocess, ramp)
    inner = ((places >= 0) & (places <= np.array(ramp.shape) - 1)).all(axis=-1)
    assert inner.any()
    np.testing.assert_allclose(inputs[inner], (volume.geometry.world(places) @ slope)[inner], atol=1e-4)  # type: ignore[union-attr]
    # And back: wherever all eight neighbours in the input were inside of the scan.
    inverse = np.linalg.inv(preprocess.affine(ramp))
    seen_from = np.stack(np.indices(ramp.shape), axis=-1) @ inverse[:3, :3].T + inverse[:3, 3]
    corners = [np.floor(seen_from), np.ceil(seen_from)]
    known = np.ones(ramp.shape, bool)
    for corner in corners:
        known &= ((corner >= 0) & (corner <= np.array(inputs.shape) - 1)).all(axis=-1)
        at = corner @ preprocess.affine(ramp)[:3, :3].T + preprocess.affine(ramp)[:3, 3]
        known &= ((at >= 0) & (at <= np.array(ramp.shape) - 1)).all(axis=-1)
    assert known.any()
    np.testing.assert_allclose(preprocess.to_scan(inputs, ramp)[known], ramp.values[known], atol=2e-4)


@pytest.mark.parametrize("number", CASES)
def test_the_centre_of_a_blob_stays_where_it_is(number: int) -> None:
    spec, volume = random_case(number, sides=(36, 44))
    spec = {key: value for key, value in spec.items() if key not in ("size", "crop", "pad")} | {"size": 40, "pad": 48, "crop": [33, 36, 35]}
    centre = np.array(volume.shape) / 2 + np.random.default_rng(number).uniform(-2, 2, 3)
    distance = np.square(np.stack(np.indices(volume.shape), axis=-1) - centre).sum(axis=-1)
    blob = Volume(np.exp(-distance / (2 * 3.0**2)), volume.geometry, "blob")
    preprocess = VolumePreprocess(spec)
    inputs = preprocess(blob)[0, 0].numpy().astype(np.float64)
    in_input = (positions(preprocess, blob) * inputs[..., None]).sum(axis=(0, 1, 2)) / inputs.sum()
    back = np.nan_to_num(preprocess.to_scan(inputs.astype(np.float32), blob).astype(np.float64))
    on_scan = (np.stack(np.indices(blob.shape), axis=-1) * back[..., None]).sum(axis=(0, 1, 2)) / back.sum()
    assert np.abs(in_input - centre).max() < 0.05
    assert np.abs(on_scan - centre).max() < 0.05


@pytest.mark.parametrize("letters", ["RAS", "LPI", "ASL", "psr"])
def test_an_orientation_is_that_of_nibabel_to_the_bit(letters: str) -> None:
    for number in range(8):
        volume = noise((4, 5, 6), random_geometry(np.random.default_rng(number)))
        image = nibabel.Nifti1Image(volume.values, volume.geometry.affine)  # type: ignore[union-attr]
        own = nibabel.orientations.io_orientation(image.affine)
        turn = nibabel.orientations.ornt_transform(own, nibabel.orientations.axcodes2ornt(tuple(letters.upper())))
        turned = image.as_reoriented(turn)
        preprocess = VolumePreprocess({"orientation": letters})
        np.testing.assert_array_equal(preprocess(volume)[0, 0].numpy(), turned.get_fdata(dtype=np.float32))
        np.testing.assert_allclose(volume.geometry.affine @ preprocess.affine(volume), turned.affine, atol=1e-12)  # type: ignore[union-attr]


def test_however_an_anatomy_is_stored_the_network_sees_the_same() -> None:
    values = np.random.default_rng(0).normal(size=(7, 8, 9)).astype(np.float32)
    affine = np.diag([1.5, 1.0, 0.7, 1.0])
    preprocess = VolumePreprocess(
        {
            "orientation": "LPS",
            "axes": "zyx",
            "spacing": (0.9, 1.1, 1.3),
            "pad": (9, 6, 6),
            "crop": (6, 5, 4),
            "mean": "volume",
            "std": "volume",
        }
    )
    expected = preprocess(Volume(values, Geometry(affine), "scan"))
    saliency = np.random.default_rng(1).random(expected.shape[2:]).astype(np.float32)
    on_scan = preprocess.to_scan(saliency, Volume(values, Geometry(affine), "scan"))
    for axes, flips in ORIENTATIONS:
        volume = Volume(*stored(values, affine, axes, flips), "scan")
        torch.testing.assert_close(preprocess(volume), expected, rtol=0, atol=1e-5)
        there, _ = stored(on_scan, affine, axes, flips)
        np.testing.assert_allclose(preprocess.to_scan(saliency, volume), there, atol=1e-5)


def test_axes_are_those_of_the_network_and_so_are_three_numbers() -> None:
    volume = noise((4, 5, 6))
    np.testing.assert_array_equal(VolumePreprocess({"axes": "zyx"})(volume)[0, 0].numpy(), volume.values.transpose(2, 1, 0))
    assert VolumePreprocess({"axes": "zyx", "size": (2, 5, 8)})(volume).shape == (1, 1, 2, 5, 8)
    assert VolumePreprocess({"axes": "zxy", "spacing": (2, 1, 0.5)})(volume).shape == (1, 1, 3, 4, 10)
    assert VolumePreprocess({"axes": "yzx", "crop": (1, 2, 3)})(volume).shape == (1, 1, 1, 2, 3)


def test_a_size_has_the_borders_of_the_volume_as_torch_interpolates() -> None:
    volume = noise((6, 9, 5), None)
    expected = torch.nn.functional.interpolate(torch.from_numpy(volume.values)[None, None], (4, 12, 5), mode="trilinear")
    torch.testing.assert_close(VolumePreprocess({"size": (4, 12, 5)})(volume), expected)
    corners = VolumePreprocess({"size": (4, 12, 5)}).affine(volume) @ np.array([[-0.5, 3.5], [-0.5, 11.5], [-0.5, 4.5], [1, 1]])
    np.testing.assert_allclose(corners[:3], [[-0.5, 5.5], [-0.5, 8.5], [-0.5, 4.5]], atol=1e-12)


def test_a_spacing_is_exact_and_covers_the_scan_about_its_centre() -> None:
    volume = noise((10, 10, 10), Geometry.of_spacing((1.0, float(np.float32(0.1)), 2.0)))
    preprocess = VolumePreprocess({"spacing": (3.0, 0.05, 2.0)})
    affine = preprocess.affine(volume)
    assert preprocess(volume).shape == (1, 1, 4, 20, 10)  # 3.33 voxels become 4; 20.0000003 are 20: headers hold float32
    np.testing.assert_allclose(np.diag(affine), (3, 0.5, 1, 1), atol=1e-7)
    np.testing.assert_allclose(affine[:3, 3] + affine[:3, :3] @ [1.5, 9.5, 4.5], (4.5, 4.5, 4.5), atol=1e-7)
    assert not np.isnan(preprocess.to_scan(np.ones((4, 20, 10)), volume)).any()


def test_a_crop_is_the_centre_and_padding_lies_around_it() -> None:
    line = scan_of(np.arange(1.0, 7).reshape(6, 1, 1), None)
    shown = {
        (3, None): [2, 3, 4],
        (None, 9): [1, 1, 2, 3, 4, 5, 6, 1, 1],
        (4, 8): [2, 3, 4, 5],
    }
    for (crop, pad), expected in shown.items():
        spec = {"pad": None if pad is None else (pad, 1, 1), "crop": None if crop is None else (crop, 1, 1)}
        centre = [3, 4, 5] if crop == 3 else expected  # of six, three from the fourth's side, as MONAI's
        assert VolumePreprocess(spec)(line)[0, 0, :, 0, 0].tolist() == centre
    assert VolumePreprocess({"pad": (8, 1, 1), "pad_value": -3})(line)[0, 0, :, 0, 0].tolist() == [-3, 1, 2, 3, 4, 5, 6, -3]
    returned = VolumePreprocess({"crop": (4, 1, 1)}).to_scan(torch.arange(4.0).reshape(4, 1, 1), line)[:, 0, 0]
    np.testing.assert_array_equal(returned, [math.nan, 0, 1, 2, 3, math.nan])


def test_padding_is_what_the_lowest_value_becomes() -> None:
    volume = scan_of(np.array([-1000.0, 0, 1000]).reshape(3, 1, 1), None)
    inputs = VolumePreprocess({"window": (-500, 500), "mean": 0.5, "std": 0.25, "pad": (5, 1, 1)})(volume)
    assert inputs.flatten().tolist() == [-2, -2, 0, 2, -2]


def test_a_window_and_percentiles_become_zero_to_one_and_clip() -> None:
    volume = scan_of(np.linspace(-100, 100, 201).reshape(201, 1, 1), None)
    windowed = VolumePreprocess({"window": (-50, 50)})(volume).flatten()
    by_share = VolumePreprocess({"percentiles": (25, 75)})(volume).flatten()
    expected = torch.linspace(-100, 100, 201).add(50).div(100).clamp(0, 1)
    torch.testing.assert_close(windowed, expected)
    torch.testing.assert_close(by_share, expected)


def test_statistics_are_of_the_scan_or_of_what_is_not_zero() -> None:
    values = np.array([0.0, 0, 2, 4, 6]).reshape(5, 1, 1)
    of_all = VolumePreprocess({"mean": "volume", "std": "volume"})(scan_of(values)).flatten()
    torch.testing.assert_close(of_all, torch.from_numpy((values - values.mean()) / values.std()).float().flatten())
    of_some = VolumePreprocess({"mean": "nonzero", "std": "nonzero"})(scan_of(values)).flatten()
    torch.testing.assert_close(of_some, torch.tensor([0.0, 0, -1.2247449, 0, 1.2247449]))


def test_channels_repeat_the_volume_each_with_its_numbers() -> None:
    volume = noise((2, 3, 4))
    inputs = VolumePreprocess({"channels": 3, "mean": (0, 1, 2), "std": (1, 2, 4), "pad": (4, 3, 4)})(volume)
    assert inputs.shape == (1, 3, 4, 3, 4)
    for channel, (mean, std) in enumerate(((0, 1), (1, 2), (2, 4))):
        np.testing.assert_allclose(inputs[0, channel, 1:3].numpy(), (volume.values - mean) / std, rtol=1e-6)
        np.testing.assert_allclose(inputs[0, channel, 0].numpy(), (volume.values.min() - mean) / std, rtol=1e-6)


def test_the_scan_is_left_as_it_was() -> None:
    volume = noise((3, 3, 3))
    before = volume.values.copy()
    VolumePreprocess({"window": (-0.1, 0.1), "channels": 2})(volume).add_(1)
    VolumePreprocess({})(volume).add_(1)
    np.testing.assert_array_equal(volume.values, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_voxels_that_are_not_finite_are_counted_or_filled(bad: float) -> None:
    values = np.zeros((2, 3, 4))
    values[0, 0] = bad
    with pytest.raises(ImageError, match=r"'scan.nii' has 4 voxels of 24 that are NaN or infinite; set preprocess.fill"):
        VolumePreprocess({})(scan_of(values))
    assert VolumePreprocess({"fill": -5})(scan_of(values)).unique().tolist() == [-5, 0]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (3, r"'preprocess' must be a dict such as dict\(orientation='RAS', spacing=1.0, size=96\), got 3"),
        ({"orientaton": "RAS"}, "'preprocess' has no key 'orientaton'; closest: 'orientation'.*; for volumes expected orientation, axes"),
        ({"orientation": "RAL"}, "'preprocess.orientation' must say where the axes lead, .* such as 'RAS', got 'RAL'"),
        ({"orientation": "RA"}, "'preprocess.orientation' must say"),
        ({"orientation": "XYZ"}, "'preprocess.orientation' must say"),
        ({"orientation": 1}, "'preprocess.orientation' must say"),
        ({"axes": "zy"}, "'preprocess.axes' must be the letters x, y, z in the order .*, got 'zy'"),
        ({"axes": "zyy"}, "'preprocess.axes' must be"),
        ({"spacing": 0}, "'preprocess.spacing' must be millimetres above 0, one number or three, got 0"),
        ({"spacing": (1, 2)}, "'preprocess.spacing' must be millimetres"),
        ({"spacing": float("nan")}, "'preprocess.spacing' must be millimetres"),
        ({"size": 1.5}, "'preprocess.size' must be voxels above 0, one whole number or three, got 1.5"),
        ({"size": True}, "'preprocess.size' must be voxels"),
        ({"crop": (0, 1, 1)}, "'preprocess.crop' must be voxels"),
        ({"pad": "64"}, "'preprocess.pad' must be voxels"),
        ({"pad_value": "0"}, "'preprocess.pad_value' must be a number, got '0'"),
        ({"fill": float("nan")}, "'preprocess.fill' must be a number, got nan"),
        ({"window": (5, 5)}, r"'preprocess.window' must be \(low, high\) with low < high, got \(5, 5\)"),
        ({"window": (5, float("inf"))}, "'preprocess.window' must be"),
        ({"percentiles": (-1, 50)}, r"'preprocess.percentiles' must lie between 0 and 100, got \(-1, 50\)"),
        ({"window": (0, 1), "percentiles": (0, 1)}, "'preprocess' has both window and percentiles"),
        ({"mean": "volume"}, "must both be numbers or the same word, got 'volume' and None"),
        ({"mean": "volume", "std": "nonzero"}, "must both be numbers or the same word, got 'volume' and 'nonzero'"),
        ({"mean": "all", "std": "all"}, "must be numbers, 'volume' or 'nonzero', got 'all'"),
        ({"mean": (1, 2)}, "'preprocess.mean' must be a number, one for each of 1 channels, 'volume' or 'nonzero', got"),
        ({"std": 0}, "'preprocess.std' must be above 0, got 0"),
        ({"channels": 0}, "'preprocess.channels' must be how often the volume is repeated, a whole number above 0, got 0"),
    ],
)
def test_a_wrong_description_is_refused_in_one_line(spec: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        VolumePreprocess(spec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "volume", "message"),
    [
        (
            {"orientation": "RAS"},
            noise((3, 3, 3), None),
            "preprocess.orientation needs a scan that says where its voxels lie, got 'scan.nii'",
        ),
        ({"spacing": 1}, noise((3, 3, 3), None), "preprocess.spacing needs a scan that says where its voxels lie"),
        (
            {"crop": 4},
            noise((3, 5, 5)),
            r"preprocess.crop of 4x4x4 voxels is larger than 'scan.nii', which has 3x5x5 at this step; add pad=",
        ),
        (
            {"spacing": 1e-6},
            noise((3, 3, 3)),
            "'scan.nii' would become an input of 3000000x3000000x3000000 voxels; expected at most 1073741824",
        ),
        (
            {"percentiles": (1, 99)},
            scan_of(np.full((2, 2, 2), 7)),
            "Percentiles 1 and 99 of 'scan.nii' are both 7, so there is no contrast",
        ),
        ({"mean": "volume", "std": "volume"}, scan_of(np.full((2, 2, 2), 0.1)), "The voxels of 'scan.nii' are all alike"),
        ({"mean": "nonzero", "std": "nonzero"}, scan_of(np.zeros((2, 2, 2))), "The voxels of 'scan.nii' that are not zero are all alike"),
        ({}, scan_of(np.zeros((2, 2, 2), complex)), "Expected a scan of real numbers, got values of complex128 from 'scan.nii'"),
    ],
)
def test_a_scan_that_does_not_fit_is_refused_in_one_line(spec: Any, volume: Volume, message: str) -> None:
    with pytest.raises(ImageError, match=message) as error:
        VolumePreprocess(spec)(volume)
    assert "\n" not in str(error.value)


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(ImageError, match=r"Expected a map of the size 4x4x4 of the network's input for 'scan.nii', got 2x4x4"):
        VolumePreprocess({"size": 4}).to_scan(np.zeros((2, 4, 4)), noise((3, 3, 3)))
