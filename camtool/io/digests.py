"""Digests of samples: the sha256 of a file, of the files of a folder, of lines of text."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


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

    Raises:
        OSError: if it cannot be read.
    """
    if path.is_dir():
        return digest_of(f"{file.name} {digest_of_path(file)}" for file in sorted(path.iterdir()) if file.is_file())
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
