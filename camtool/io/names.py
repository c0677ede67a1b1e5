"""Names of files: their suffix, which may be of two parts, and what stands before it; files that are read by another one."""

from collections.abc import Collection, Iterable
from pathlib import Path

_HEADERS = {".img": ".hdr", ".dat": ".hea"}
"""By the suffix of files of mere numbers that of the header beside them: volumes in two files, WFDB records."""


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


OF_PAIRS = {".mhd": ".mha", ".nhdr": ".nrrd", ".hdr": ".nii.gz", ".img": ".nii.gz"}
"""By suffix of a header or of its numbers the suffix of the one file that holds both, which is what is written."""


def in_place_of(suffix: str, formats: Collection[str]) -> str:
    """Return "; try '.mha', …" for the suffix of one of two files, of which the formats have the one that holds both; "" for others.

    Example:
        >>> from camtool.io.names import in_place_of
        >>> in_place_of(".mhd", (".nii", ".mha")), in_place_of(".mhd", (".png",))
        ("; try '.mha', header and numbers in one file", '')
    """
    whole = OF_PAIRS.get(suffix.lower(), "")
    return f"; try '{whole}', header and numbers in one file" if whole in formats else ""


def stem_of(path: Path) -> str:
    """Return a path's name without folders and suffix: "head" of "scans/head.nii.gz".

    Example:
        >>> from pathlib import Path
        >>> from camtool.io.names import stem_of
        >>> stem_of(Path("scans/head.nii.gz")), stem_of(Path("v1.2.jpg"))
        ('head', 'v1.2')
    """
    return path.name[: len(path.name) - len(suffix_of(path))] or path.name


def without_data_files(paths: Iterable[str]) -> list[str]:
    """Return the paths, in their order, without files of numbers whose header is among them: both are read as one, by either name.

    Example:
        >>> from camtool.io.names import without_data_files
        >>> without_data_files(["a/head.hdr", "a/head.img", "b/head.img", "a/100.dat", "a/100.HEA"])
        ['a/head.hdr', 'b/head.img', 'a/100.HEA']
    """
    given = list(paths)
    named = {_parts(path) for path in given}
    return [path for path in given if (_parts(path)[0], _HEADERS.get(_parts(path)[1])) not in named]


def _parts(path: str) -> tuple[str, str]:
    whole = Path(path)
    return str(whole.with_suffix("")), whole.suffix.lower()
