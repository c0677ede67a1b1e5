"""Files of a store: shards, their checksums, and the description of the run."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camtool.errors import DataError, OutputError, some
from camtool.io.atomic import check_writable, write_atomically

RUN = "run.json"
MANIFEST = "_manifest"  # pyarrow, pandas and Ray leave out folders with an underscore
_PREFIX, _SUFFIX = "maps-", ".parquet"
ABANDONED = 60.0
"""Seconds after which a temporary file belongs to nobody; writing one takes less than one."""
WRITING = 5.0
"""Seconds after which a shard is there whose record is; writing it takes less than one."""


def is_store(folder: Path) -> bool:
    """Return whether a folder is a store, of a run that may not have ended."""
    return os.path.isfile(folder / RUN)


def require_store(folder: Path) -> None:
    """Raise DataError if a folder is no store."""
    if not os.path.isdir(folder):
        raise DataError(f"No store '{folder}'; expected a folder that 'camtool run … --out {folder}' has written.")
    if not is_store(folder):
        raise DataError(f"'{folder}' is no store: it has no {RUN}; expected a folder that 'camtool run … --out DIR' has written.")


def read_run(folder: Path) -> dict[str, Any]:
    """Return the description of a store's run; DataError if it cannot be read."""
    require_store(folder)
    try:
        description = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"'{folder / RUN}' cannot be read: {error}. Expected the file as 'camtool run' wrote it.") from error
    if not isinstance(description, dict) or not _describes_a_run(description):
        raise DataError(f"'{folder / RUN}' does not describe a run; expected the file as 'camtool run' wrote it.")
    return description


def _describes_a_run(description: Mapping[str, Any]) -> bool:
    """Return whether a description has what is needed to read the shards."""
    numbers = [description.get(name) for name in ("samples", "shard_size")]
    return (
        isinstance(description.get("fingerprint"), dict)
        and all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
        and description["samples"] >= 0
        and description["shard_size"] >= 1
    )


def write_run(folder: Path, description: Mapping[str, Any]) -> dict[str, Any]:
    """Write the description of a run unless there is one, and return the one that is there: of several processes the first one's."""
    temporary = folder / f".{RUN}.{os.getpid()}"
    # Names of folders may be no text: as escapes of JSON they come back, and the file stays UTF-8.
    content = f"{json.dumps(description, indent=1, ensure_ascii=False)}\n".encode("utf-8", "backslashreplace")
    write_atomically(temporary, content, durable=True)
    try:
        os.link(temporary, folder / RUN)
    except FileExistsError:
        pass
    except OSError:  # a file system without links: of two at once the last one counts, and they are the same
        if not (folder / RUN).exists():
            os.replace(temporary, folder / RUN)
    finally:
        temporary.unlink(missing_ok=True)
    return read_run(folder)


def shard_path(folder: Path, number: int) -> Path:
    """Return the path of a shard's file."""
    return folder / f"{_PREFIX}{number:06d}{_SUFFIX}"


def shard_numbers(folder: Path) -> list[int]:
    """Return the numbers of the shards that are there, ascending; their content is not read.

    Raises:
        DataError: if the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError as error:
        raise DataError(f"'{folder}' cannot be listed: {error.strerror}.") from error
    digits = (name[len(_PREFIX) : -len(_SUFFIX)] for name in names if name.startswith(_PREFIX) and name.endswith(_SUFFIX))
    return sorted(int(number) for number in digits if number.isdecimal())


@dataclass(frozen=True)
class ShardRecord:
    """What the manifest says of a shard."""

    sha256: str
    rows: int
    failures: dict[str, int]
    """By status the number of samples that could not be explained."""
    remarks: dict[str, int]
    """By status the number of rows with a map that is not "ok"."""


def write_shard(folder: Path, number: int, content: bytes, record: ShardRecord) -> None:
    """Write a shard, whole or not at all, its record first, so that no shard is without one.

    Two processes that make the same shard write the same; where their rounding differs, each has a record of its own.

    Raises:
        OutputError: if it cannot be written.
    """
    described = json.dumps({"rows": record.rows, "failures": record.failures, "remarks": record.remarks})
    write_atomically(folder / MANIFEST / f"{number:06d}-{record.sha256}.json", described.encode(), durable=True)
    write_atomically(shard_path(folder, number), content, durable=True)


def manifest(folder: Path) -> dict[int, dict[str, Path]]:
    """Return by shard and checksum the path of its record; {} where there is no manifest."""
    try:
        names = os.listdir(folder / MANIFEST)
    except FileNotFoundError:
        return {}
    found: dict[int, dict[str, Path]] = {}
    for name in sorted(names):
        number, _, rest = name.partition("-")
        if number.isdecimal() and rest.endswith(".json"):
            found.setdefault(int(number), {})[rest.removesuffix(".json")] = folder / MANIFEST / name
    return found


def read_record(path: Path, sha256: str) -> ShardRecord:
    """Return the record of a shard; DataError if it cannot be read."""
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        return ShardRecord(sha256, int(described["rows"]), dict(described["failures"]), dict(described["remarks"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"'{path}' is damaged: {error}. Run the same command again with --verify.") from error


def read_shard(folder: Path, number: int, records: Mapping[int, Mapping[str, Path]]) -> bytes:
    """Return the content of a shard's file, as its checksum says it is.

    Raises:
        DataError: if the file is missing or is not what was written.
    """
    path = shard_path(folder, number)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"Shard '{path}' cannot be read: {error.strerror}. The same 'camtool run' makes it again.") from error
    if number not in records:
        raise DataError(
            f"Shard '{path}' has no checksum in '{folder / MANIFEST}'; expected the folder as 'camtool run' wrote it. The same "
            "'camtool run' with --verify makes the shard again."
        )
    if hashlib.sha256(content).hexdigest() not in records[number]:
        raise DataError(
            f"Shard '{path}' is damaged: its checksum is not the manifest's. The same 'camtool run' with --verify makes it again."
        )
    return content


def check_nothing_deleted(folder: Path, numbers: Iterable[int], records: Mapping[int, Mapping[str, Path]]) -> None:
    """Raise DataError if a shard that was written is not there: deleted, or its process was killed before it was in its place.

    A run that has not ended lacks shards, too, but has no records of them.

    Args:
        numbers: shards that are there.
        records: what the manifest says, read before the shards were listed.
    """
    gone = sorted(records.keys() - set(numbers))
    named = [number for number in gone if _seconds_since(records[number].values()) > WRITING]
    if named:
        files = some([f"'{shard_path(folder, number).name}'" for number in named], 3)
        raise DataError(f"'{folder}' has records of shards that are not there: {files}. The same 'camtool run' makes them again.")


def _seconds_since(paths: Iterable[Path]) -> float:
    """Return the age of the latest of these files; 0 if there is none."""
    times = [path.stat().st_mtime for path in paths if path.exists()]
    return time.time() - max(times) if times else 0.0


def damaged_shards(folder: Path, numbers: Iterable[int]) -> list[int]:
    """Return those of the shards whose content is not what was written."""
    records, bad = manifest(folder), []
    for number in numbers:
        try:
            read_shard(folder, number, records)
        except DataError:
            bad.append(number)
    return bad


def check_outside(path: Path, folder: Path) -> None:
    """Raise OutputError if a file or folder that is to be written would be in a store, or the store itself."""
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise OutputError(f"'{path}' is in the store '{folder}', which stays as it is; choose another path.")


def check_folder(folder: Path) -> None:
    """Raise OutputError if a folder cannot become a store, and is none."""
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise OutputError(f"'{folder}' is a file; expected a new folder, an empty one, or a store.")
    # Listed first: another process may begin the same store meanwhile.
    if os.path.isdir(folder) and any(not name.startswith(".") for name in os.listdir(folder)) and not is_store(folder):
        raise OutputError(f"'{folder}' is no store, but has files in it; expected a new folder, an empty one, or a store.")
    check_writable(folder / RUN)


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files of processes that were killed: those which nobody has written to for a minute."""
    for place in (folder, folder / MANIFEST):
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith((f".{_PREFIX}", f".{RUN}", f"..{RUN}", ".0", ".1")) and _age(entry) > ABANDONED:
                    Path(entry.path).unlink(missing_ok=True)


def _age(entry: os.DirEntry[str]) -> float:
    try:
        return time.time() - entry.stat().st_mtime
    except FileNotFoundError:  # renamed meanwhile
        return 0.0
