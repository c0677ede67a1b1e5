"""Files of volumes in random places, written by the libraries that others write them with, and what they say of a file's place."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import SimpleITK
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

RAW = np.arange(60, dtype="<i2").tobytes()
"""Voxels of the files below, 4x3x5 of 16 bits, the first axis the fastest."""

META = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False", "Offset": "1 2 3",
    "ElementSpacing": "1 1 2", "DimSize": "4 3 5", "ElementType": "MET_SHORT", "ElementDataFile": "LOCAL",
}  # fmt: skip
NRRD = {
    "type": "short",
    "dimension": "3",
    "space": "LPS",
    "sizes": "4 3 5",
    "space directions": "(1,0,0) (0,1,0) (0,0,2)",
    "endian": "little",
    "encoding": "raw",
}

TURN = np.diag([-1.0, -1.0, 1.0, 1.0])  # from towards left and posterior to towards right and anterior


def random_affine(draw: np.random.Generator, *, turned: bool = True) -> np.ndarray:
    """Return an affine to millimetres: anisotropic, flipped or not, its axes in any order or, `turned`, oblique."""
    directions = np.linalg.qr(draw.normal(size=(3, 3)))[0] if turned else np.eye(3)[draw.permutation(3)]
    affine = np.eye(4)
    affine[:3, :3] = directions * draw.choice([-1, 1], 3) * draw.uniform(0.4, 5, 3)
    affine[:3, 3] = draw.uniform(-300, 300, 3)
    return affine


def voxels(draw: np.random.Generator, shape: Sequence[int], dtype: Any = np.int16) -> np.ndarray:
    """Return random values (x, y, z)."""
    return draw.integers(0, 120, shape).astype(dtype)


def itk_image(values: np.ndarray, affine: np.ndarray) -> SimpleITK.Image:
    """Return SimpleITK's image of values (x, y, z) in this place."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(values.T))
    steps = (TURN @ affine)[:3, :3]
    spacing = np.linalg.norm(steps, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((steps / spacing).ravel().tolist())
    image.SetOrigin((TURN @ affine)[:3, 3].tolist())
    return image


def itk_affine(image: SimpleITK.Image) -> np.ndarray:
    """Return the affine that SimpleITK has of an image, towards right, anterior and superior."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.asarray(TURN @ affine)


def itk_read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the values (x, y, z) and the affine that SimpleITK reads of a file."""
    image = SimpleITK.ReadImage(str(path))
    return SimpleITK.GetArrayFromImage(image).T, itk_affine(image)


def apart(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Return the most voxels that two affines put a voxel of a volume apart."""
    corners = np.array([[x, y, z, 1] for x in (0, shape[0] - 1) for y in (0, shape[1] - 1) for z in (0, shape[2] - 1)], float).T
    return float(np.abs(np.linalg.solve(one, other @ corners) - corners).max())


def write_nifti(
    path: Path, values: np.ndarray, affine: np.ndarray, codes: tuple[int, int] = (1, 1), kind: Any = nibabel.Nifti1Image
) -> None:
    """Write a NIfTI file by nibabel; `codes`: of qform and sform."""
    image = kind(values, affine)
    image.set_qform(affine, code=codes[0])
    image.set_sform(affine, code=codes[1])
    nibabel.save(image, path)


def write_dicom(folder: Path, values: np.ndarray, affine: np.ndarray, *, names: Sequence[int] | None = None, **fields: Any) -> None:
    """Write values (x, y, z) as a series, a file a slice; the affine's third column must lead along the normal of the slices.

    Args:
        names: numbers of the files, by slice, which need not be in order.
        fields: of every file; a callable is called with the number of the slice.
    """
    folder.mkdir(exist_ok=True)
    placed = TURN @ affine
    spacing = np.linalg.norm(placed[:3, :3], axis=0)
    series, study = generate_uid(), generate_uid()
    for z in range(values.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        content = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        content.SOPClassUID, content.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        content.Modality, content.StudyInstanceUID, content.SeriesInstanceUID = "CT", study, series
        content.SeriesNumber, content.SeriesDescription, content.InstanceNumber = 3, "thin slices", z + 1
        content.Rows, content.Columns = values.shape[1], values.shape[0]
        content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
        content.BitsAllocated, content.BitsStored, content.HighBit, content.PixelRepresentation = 16, 16, 15, 1
        content.PixelSpacing = [repr(round(float(spacing[1]), 12)), repr(round(float(spacing[0]), 12))]
        content.ImageOrientationPatient = [_number(number) for axis in (0, 1) for number in placed[:3, axis] / spacing[axis]]
        content.ImagePositionPatient = [_number(number) for number in placed[:3, 3] + z * placed[:3, 2]]
        content.RescaleSlope, content.RescaleIntercept = "1", "0"
        content.PixelData = np.ascontiguousarray(values[..., z].T.astype("<i2")).tobytes()
        for name, value in fields.items():
            setattr(content, name, value(z) if callable(value) else value)
        number = names[z] if names is not None else z
        pydicom.dcmwrite(folder / f"slice{number:03d}.dcm", content, enforce_file_format=True)


def _number(number: float) -> str:
    return f"{number:.10f}"[:16]


def meta(path: Path, content: bytes = RAW, **fields: str | None) -> Path:
    """Write a .mha file with these fields set, or left out."""
    lines = [f"{key} = {value}\n" for key, value in (META | fields).items() if value is not None]
    lines.sort(key=lambda line: line.startswith("ElementDataFile"))
    path.write_bytes("".join(lines).encode("latin-1") + content)
    return path


def nrrd_file(path: Path, content: bytes = RAW, **fields: str | None) -> Path:
    """Write a .nrrd file with these fields set ("_" for a space), or left out."""
    stated = NRRD | {key.replace("_", " "): value for key, value in fields.items()}
    lines = "".join(f"{key}: {value}\n" for key, value in stated.items() if value is not None)
    path.write_bytes(f"NRRD0004\n{lines}\n".encode("latin-1") + content)
    return path
