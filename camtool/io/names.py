"""Names of files: their suffix, which may be of two parts, and what stands before it."""

from pathlib import Path


def suffix_of(path: Path) -> str:
    """Return a path's suffix in small letters; of a compressed file both: ".nii.gz".

    Example:
        >>> from pathlib import Path
        >>> from camtool.io.names import suffix_of
        >>> suffix_of(Path("head.NII.gz")), suffix_of(Path("v1.2/cat.jpg"))
        ('.nii.gz', '.jpg')
    """
    suffix = path.suffix.lower()
    return path.with_suffix("").suffix.lower() + suffix if suffix == ".gz" else suffix


def stem_of(path: Path) -> str:
    """Return a path's name without folders and suffix: "head" of "scans/head.nii.gz".

    Example:
        >>> from pathlib import Path
        >>> from camtool.io.names import stem_of
        >>> stem_of(Path("scans/head.nii.gz")), stem_of(Path("v1.2.jpg"))
        ('head', 'v1.2')
    """
    return path.name[: len(path.name) - len(suffix_of(path))] or path.name
