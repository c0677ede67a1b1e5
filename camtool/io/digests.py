"""Digests of samples: the sha256 of a file, of the files of a folder, of lines of text."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from camtool.io.names import stem_of, suffix_of

_IN_SEVERAL = (".dat", ".hdr", ".hea", ".img", ".mhd", ".nhdr", ".raw", ".raw.gz", ".zraw")
"""Suffixes of the files of a sample that has a header in one of them and its numbers in another."""


def digest_of(lines: Iterable[str]) -> str:
    """Return the sha256 of lines of text.

    Example:
        >>> digest_of(["a", "b"])[:8]
        '911169dd'
    """
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def digest_of_path(path: Path) -> str:
    """Return the sha256 of a file; of a folder, such as a DICOM series, that of its files' names and digests.

    Of a header whose numbers are in a file of the same name beside it (.mhd and .raw, .hea and .dat), that of the digests of both.

    Raises:
        OSError: if it cannot be read.
    """
    if path.is_dir():
        return digest_of(f"{file.name} {digest_of_path(file)}" for file in sorted(path.iterdir()) if file.is_file())
    if suffix_of(path) in _IN_SEVERAL:
        beside = (file for file in path.parent.iterdir() if stem_of(file) == stem_of(path) and suffix_of(file) in _IN_SEVERAL)
        files = sorted(beside, key=suffix_of)
        if path in files and len(files) > 1:
            return digest_of(_digest_of_file(file) for file in files)
    return _digest_of_file(path)


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
