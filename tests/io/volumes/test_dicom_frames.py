"""An enhanced DICOM file is the volume of its frames, wherever its functional groups say what; one that does not say it is refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage

from camtool.io.volumes import VolumeReading, read_volume
from tests.io.volumes.test_dicom import SHAPE, grid, refused
from tests.io.volumes.volume_files import apart, write_dicom

PLACES = ("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence", "PixelValueTransformationSequence")


def write_frames(path: Path, values: np.ndarray, affine: np.ndarray, order: Sequence[int], shared: Sequence[str], **rescale: Any) -> None:
    """Write values (x, y, z) as one file of frames in this order; groups that are `shared` stand there once.

    Args:
        rescale: `slopes` by slice.
    """
    folder = path.with_suffix("")
    write_dicom(folder, values, affine)
    slices = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    for file in folder.iterdir():
        file.unlink()
    slopes = rescale.get("slopes", [1] * len(slices))
    whole = slices[0]
    groups = []
    for z in order:
        one = Dataset()
        for sequence, fields in zip(
            PLACES,
            (
                {"PixelSpacing": slices[z].PixelSpacing, "SliceThickness": "9"},
                {"ImageOrientationPatient": slices[z].ImageOrientationPatient},
                {"ImagePositionPatient": slices[z].ImagePositionPatient},
                {"RescaleSlope": str(slopes[z]), "RescaleIntercept": "0"},
            ),
            strict=True,
        ):
            part = Dataset()
            for name, value in fields.items():
                setattr(part, name, value)
            setattr(one, sequence, [part])
        groups.append(one)
    of_all = Dataset()
    for sequence in shared:
        setattr(of_all, sequence, getattr(groups[0], sequence))
        for one in groups:
            delattr(one, sequence)
    pixels = b"".join(slices[z].PixelData for z in order)
    for name in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "RescaleSlope", "RescaleIntercept"):
        delattr(whole, name)
    whole.file_meta.MediaStorageSOPClassUID = whole.SOPClassUID = EnhancedCTImageStorage
    whole.NumberOfFrames, whole.PixelData = len(order), pixels
    whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence = [of_all], groups
    pydicom.dcmwrite(path, whole, enforce_file_format=True)


def change(path: Path, edit: Any) -> None:
    content = pydicom.dcmread(path)
    edit(content)
    content.save_as(path)


@pytest.mark.parametrize("seed", range(5))
def test_the_frames_of_a_file_are_a_volume(tmp_path: Path, seed: int) -> None:
    values, affine = grid(seed)
    draw = np.random.default_rng(seed)
    shared = [name for name in PLACES if name != "PlanePositionSequence" and draw.random() < 0.5]
    write_frames(tmp_path / "ct.dcm", values, affine, draw.permutation(SHAPE[2]).tolist(), shared)

    volume = read_volume(tmp_path / "ct.dcm")

    assert volume.geometry is not None
    assert np.array_equal(volume.values, values)
    assert apart(affine, volume.geometry.affine, SHAPE) < 1e-3


def test_each_frame_has_its_own_scale_and_a_folder_may_hold_the_file(tmp_path: Path) -> None:
    values, affine = grid()
    slopes = [1, 2, 3, 4, 0.5, 1.5]
    write_frames(tmp_path / "ct.dcm", values, affine, range(SHAPE[2]), (), slopes=slopes)
    (tmp_path / "ct").rmdir()
    for path in (tmp_path / "ct.dcm", tmp_path):
        np.testing.assert_allclose(read_volume(path).values, values * np.array(slopes), rtol=1e-6)


def _without(name: str) -> Any:
    return lambda content: delattr(content, name)


def _moved(content: Dataset) -> None:
    frames = content.PerFrameFunctionalGroupsSequence
    frames[2].PlanePositionSequence = frames[1].PlanePositionSequence


def _wider(content: Dataset) -> None:
    content.PerFrameFunctionalGroupsSequence[4].PixelMeasuresSequence[0].PixelSpacing = ["2.5", "2.5"]


def _dropped(content: Dataset) -> None:
    del content.PerFrameFunctionalGroupsSequence[2]
    size = len(content.PixelData) // content.NumberOfFrames
    content.PixelData = content.PixelData[: 2 * size] + content.PixelData[3 * size :]
    content.NumberOfFrames -= 1


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_without("PerFrameFunctionalGroupsSequence"), "6 frames, and does not say where each lies: no PerFrameFunctionalGroupsSequence"),
        (lambda content: delattr(content.PerFrameFunctionalGroupsSequence[3], "PlanePositionSequence"), "frame 3, does not say where its"),
        (lambda content: setattr(content, "NumberOfFrames", 5), "5 frames, and describes 6"),
        (_moved, "several slices at one place, 'ct.dcm, frame"),
        (_wider, "slices of the spacings"),
        (_dropped, "1 slice missing between 'ct.dcm, frame 1' and 'ct.dcm, frame 2'"),
        (lambda content: setattr(content, "PixelData", content.PixelData[:-40]), "truncated or damaged"),
        (lambda content: setattr(content, "SamplesPerPixel", 3), "colour voxels"),
    ],
)
def test_frames_that_are_no_grid_are_refused(tmp_path: Path, edit: Any, words: str) -> None:
    values, affine = grid()
    write_frames(tmp_path / "ct.dcm", values, affine, range(SHAPE[2]), ())
    change(tmp_path / "ct.dcm", edit)
    assert words in refused(tmp_path / "ct.dcm", VolumeReading())
