"""Masks where the network saw them: beside masks sent through the preprocessing itself, and what lies outside of the crop."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from camtool.apis.images import load_image, of_bands
from camtool.apis.scan_regions import ScanMask
from camtool.apis.seen_masks import SeenMasks
from camtool.apis.signals import NamedSignal
from camtool.apis.volumes import NamedVolume
from camtool.errors import OUTSIDE_CROP, DataError
from camtool.io.signals import Signal
from camtool.io.volumes import Geometry, Volume
from camtool.models.sources.preprocessing import described
from camtool.models.sources.signal_preprocessing import SignalPreprocess
from camtool.models.sources.volume_preprocessing import VolumePreprocess

PICTURE = load_image(np.zeros((60, 80, 3), np.uint8))


def block(size: tuple[int, ...], *spans: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


def through(preprocess: Any, mask: np.ndarray) -> np.ndarray:
    """Return where a white picture of the mask is at least half white behind the preprocessing."""
    picture = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255
    return preprocess(picture)[0, 0].numpy() >= 0.5


@pytest.mark.parametrize("spec", [{}, {"crop": 40}, {"resize": 30, "crop": 24}, {"resize": [90, 90]}, {"resize": 90, "crop": [64, 96]}])
def test_a_mask_of_a_picture_is_where_the_preprocessing_puts_it(spec: dict[str, Any]) -> None:
    preprocess = described(spec)
    mask = block((60, 80), (18, 42), (16, 56))
    seen = SeenMasks(preprocess).of(mask, PICTURE)
    expected = through(preprocess, mask)
    assert seen.mask.shape == expected.shape
    np.testing.assert_array_equal(seen.mask, expected)
    assert expected.any()
    assert not expected.all()


def test_what_is_flipped_is_flipped_and_bands_are_placed_as_pictures() -> None:
    def flipped(picture: np.ndarray) -> Tensor:
        return torch.from_numpy(picture[:, ::-1].copy()).permute(2, 0, 1)[None].float() / 255

    mask = block((60, 80), (0, 10), (0, 20))
    np.testing.assert_array_equal(SeenMasks(flipped).of(mask, PICTURE).mask, mask[:, ::-1])
    bands = of_bands(np.zeros((60, 80, 5), np.float32), "bands")
    wide = block((60, 80), (0, 30), (0, 50))
    seen = SeenMasks(described({"channels": [0, 1, 2, 3, 4], "crop": 40})).of(wide, bands)
    np.testing.assert_array_equal(seen.mask, wide[10:50, 20:60])


def test_the_share_outside_of_the_crop_is_told() -> None:
    masks = SeenMasks(described({"crop": 40}))  # rows 10 to 50, columns 20 to 60
    assert masks.of(block((60, 80), (20, 30), (30, 40)), PICTURE).outside == 0
    assert masks.of(block((60, 80), (20, 30), (10, 30)), PICTURE).outside == 0.5
    assert masks.of(block((60, 80), (0, 60), (0, 80)), PICTURE).outside == pytest.approx(1 - 1600 / 4800)
    with pytest.raises(DataError, match="The mask of 'image_0' lies wholly outside of what the network saw") as refused:
        masks.of(block((60, 80), (0, 8), (0, 80)), PICTURE)
    assert refused.value.status == OUTSIDE_CROP


def test_a_mask_too_fine_for_the_input_is_where_most_of_it_is() -> None:
    seen = SeenMasks(described({"resize": [6, 8]})).of(block((60, 80), (24, 26), (44, 46)), PICTURE)
    assert np.argwhere(seen.mask).tolist() == [[2, 4]]
    assert seen.outside == 0


@pytest.mark.parametrize(
    "spec",
    [{}, {"axes": "zyx", "orientation": "LPS"}, {"size": 12}, {"spacing": 0.5, "crop": [8, 10, 12]}, {"pad": 16, "crop": [14, 12, 10]}],
)
def test_a_mask_of_a_volume_is_where_the_preprocessing_puts_it(spec: dict[str, Any]) -> None:
    geometry = Geometry(np.diag([1.0, 1.0, 1.0, 1.0]))
    mask = block((8, 9, 10), (2, 8), (1, 5), (3, 9))
    preprocess = VolumePreprocess({**spec, "window": (0, 1), "pad_value": 0})
    scan = NamedVolume(Volume(np.zeros((8, 9, 10)), geometry, "scan"))
    seen = SeenMasks(preprocess).of(mask, scan)
    np.testing.assert_array_equal(seen.mask, preprocess(Volume(mask.astype(np.float32), geometry, "mask"))[0, 0].numpy() >= 0.5)
    assert seen.mask.any()
    assert seen.outside == pytest.approx(
        1 - (mask & ~np.isnan(preprocess.to_scan(np.ones(seen.mask.shape), scan.volume))).sum() / mask.sum()
    )


def test_the_padding_beside_a_mask_at_the_border_is_no_part_of_it() -> None:
    scan = NamedVolume(Volume(np.zeros((4, 4, 4)), Geometry.of_spacing((1, 1, 1)), "scan"))
    seen = SeenMasks(VolumePreprocess({"pad": 8})).of(np.ones((4, 4, 4), bool), scan)
    np.testing.assert_array_equal(seen.mask, block((8, 8, 8), (2, 6), (2, 6), (2, 6)))


def test_a_mask_of_a_signal_is_where_its_seconds_are() -> None:
    record = NamedSignal(Signal(np.zeros((2, 400), np.float32), 200.0, ("I", "II")))
    mask = block((400,), (100, 200))  # from 0.5 to 1 s
    seen = SeenMasks(SignalPreprocess({"rate": 50, "length": 120})).of(mask, record)  # 2.4 s, the last .4 of padding
    np.testing.assert_array_equal(np.flatnonzero(seen.mask)[[0, -1]], [25, 49])
    assert (seen.mask.sum(), seen.outside) == (25, 0)
    cut = SeenMasks(SignalPreprocess({"length": 150}))
    assert cut.of(mask, record).outside == 0.5
    with pytest.raises(DataError, match="wholly outside"):
        cut.of(block((400,), (150, 200)), record)
    for shape, size in (("ct", (150,)), ("ct1", (150, 1)), ("1ct", (2, 150))):
        found = SeenMasks(SignalPreprocess({"length": 150, "shape": shape})).of(mask, record).mask
        assert found.shape == size
        assert found.sum() == 50 * (2 if shape == "1ct" else 1)


def test_bad_input_is_one_line() -> None:
    masks = SeenMasks(described({}))
    with pytest.raises(DataError, match="The mask of 'image_0' is 6x8, the sample 60x80; expected one size"):
        masks.of(np.ones((6, 8), bool), PICTURE)
    with pytest.raises(DataError, match="an empty one of 'image_0'"):
        masks.of(np.zeros((60, 80), bool), PICTURE)


def test_the_region_of_a_mask_at_the_border_of_a_scan_does_not_reach_into_the_padding() -> None:
    scan = Volume(np.zeros((4, 4, 4)), Geometry.of_spacing((1, 1, 1)), "scan")
    mask = ScanMask(Volume(np.ones((4, 4, 4)), scan.geometry, "mask"))
    region = mask._region(NamedVolume(scan), VolumePreprocess({"pad": 8}), 1)
    assert int(region.mask.sum()) == 4**3


def test_what_is_cut_and_padded_at_both_ends_is_placed_by_its_offset() -> None:
    record = NamedSignal(Signal(np.zeros((1, 400), np.float32), 200.0, ("I",)))
    seen = SeenMasks(SignalPreprocess({"length": 200, "align": "centre"})).of(block((400,), (150, 170)), record)
    np.testing.assert_array_equal(seen.mask, block((200,), (50, 70)))

    def padded(picture: np.ndarray) -> Tensor:
        wider = np.pad(picture, ((10, 10), (10, 10), (0, 0)))
        return torch.from_numpy(wider).permute(2, 0, 1)[None].float() / 255

    everywhere = SeenMasks(padded).of(np.ones((60, 80), bool), PICTURE)
    np.testing.assert_array_equal(everywhere.mask, block((80, 100), (10, 70), (10, 90)))
