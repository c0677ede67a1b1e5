"""Atomic writing: a file or folder appears complete, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from camtool.errors import OutputError


def write_atomically(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write `content` to a temporary file beside `path`, then rename it to `path`. Missing parent folders are made.

    Args:
        durable: flush to disk (fsync): the content before the rename, the folder entry before this returns.

    Raises:
        OutputError: if the folder cannot be made or the file cannot be written. Nothing is left behind.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder) / "new" / "map.txt", b"0.5")
        ...     (Path(folder) / "new" / "map.txt").read_text()
        '0.5'
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"Cannot write '{path}': {error.strerror or error}. Choose another path.") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove temporary files that a killed process left in `folder`; `names` may have wildcards ("epoch_*.pth")."""
    for name in names:
        for path in folder.glob(f".{name}.????????"):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # other systems cannot open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder to fill; on success it is renamed to `path`, on an exception it is removed.

    Raises:
        OutputError: if `path` exists, or it or what is written into it cannot be written.
    """
    if path.exists():
        raise OutputError(f"'{path}' exists already; expected the path of a new folder. Choose another path or remove the existing one.")
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:40]}."))
        yield temporary
        temporary.chmod(0o777 & ~_umask())  # mkdtemp makes folders private (0700)
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"Cannot write '{path}': {error.strerror or error}. Choose another path.") from error
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary)


def fill_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Make the folder `path`, filled by `fill(folder)`, unless it exists. Several processes may do so at once.

    Raises:
        OutputError: if it cannot be written.
        Exception: whatever `fill` raises; nothing is left behind.
    """
    if path.is_dir():
        return
    try:
        with whole_folder(path) as folder:
            fill(folder)
    except OutputError:
        if not path.is_dir():
            raise


def check_writable(path: Path) -> None:
    """Raise OutputError if a file could not be written to `path`. Writes nothing; meant for the start of a long run."""
    if os.path.isdir(path):
        raise OutputError(f"Cannot write '{path}': it is a directory; expected the path of a file.")
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # a name that is too long
        raise OutputError(f"Cannot write '{path}': {error.strerror}. Choose another path.") from error
    existing = path.parent
    # os.path.exists, unlike Path.exists, returns False for a name that is too long and for a folder without permission.
    while not os.path.exists(existing):
        existing = existing.parent
    if not os.path.isdir(existing):
        raise OutputError(f"Cannot write '{path}': '{existing}' is a file, not a directory. Choose another path.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"Cannot write '{path}': no permission to write in '{existing}'. Choose another path.")


def _umask() -> int:
    # mkstemp makes files private (0600); a result should have the permissions of any other new file.
    mask = os.umask(0)
    os.umask(mask)
    return mask
