"""Digests of samples: that of a header covers the file of its numbers, whatever both are called."""

import hashlib
from pathlib import Path

import pytest

from camtool.io.digests import digest_of_path

PAIRS = [
    ("scan.mhd", "scan.raw"),
    ("scan.MHD", "scan.zraw"),
    ("scan.nhdr", "scan.raw.gz"),
    ("head.hdr", "head.img"),
    ("100.hea", "100.dat"),
]


@pytest.mark.parametrize("names", PAIRS)
def test_the_digest_of_a_header_is_that_of_its_numbers_as_well(tmp_path: Path, names: tuple[str, str]) -> None:
    header, numbers = (tmp_path / name for name in names)
    header.write_text("a header")
    numbers.write_bytes(b"12")
    first = digest_of_path(header)

    numbers.write_bytes(b"13")
    second = digest_of_path(header)
    (tmp_path / "scan.png").touch()
    (tmp_path / "scanner.raw").touch()
    numbers.write_bytes(b"12")

    assert second != first, "other numbers under the same header"
    assert digest_of_path(header) == digest_of_path(numbers) == first, "by either name, whatever else lies there"
    for path in (header, numbers):
        path.rename(tmp_path / path.name.replace(path.name.partition(".")[0], "renamed"))
    assert digest_of_path(tmp_path / header.name.replace(header.name.partition(".")[0], "renamed")) == first


def test_the_digest_of_one_file_is_its_sha256(tmp_path: Path) -> None:
    for name in ("scan.nii.gz", "alone.hdr", "record.dat"):
        (tmp_path / name).write_bytes(b"12")
        assert digest_of_path(tmp_path / name) == hashlib.sha256(b"12").hexdigest()
    with pytest.raises(FileNotFoundError):
        digest_of_path(tmp_path / "none.mhd")
