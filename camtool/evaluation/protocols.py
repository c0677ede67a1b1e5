"""What a folder of scores is of: written beside the scores, and compared when the same command goes on."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from camtool.errors import DataError, some
from camtool.evaluation.metric import MASK, METHOD, NETWORK
from camtool.evaluation.scoring import Scoring
from camtool.io.atomic import write_atomically
from camtool.runs.fingerprint import differences
from camtool.store.scores import scores_path

FILE = "protocol.json"


def agree(scoring: Scoring, out: Path, *, network: str | None, masks: str | None) -> None:
    """Write beside each metric's scores what they are of, or compare it with what is written.

    Args:
        network: digest of the weights; None: no network.
        masks: digest of the folder of masks; None: none.

    Raises:
        DataError: if the folder has scores of other maps, settings, weights or masks.
    """
    described: dict[str, dict[str, Any]] = {}
    for metric in scoring.metrics:
        facts: dict[str, Any] = {
            "store": _digest(scoring.store.run.get("fingerprint")),
            "maps": [[source.method, source.layer] for source in scoring.sources],
            "protocol": json.loads(scoring.protocol(metric)),
            "seed": scoring.seed,
            "limit": scoring.limit,
        }
        if metric.needs in (NETWORK, METHOD):
            facts |= {"network": network, "batch_size": scoring.batch_size}
        if metric.needs == MASK:
            facts["masks"] = masks
        described[metric.name] = facts
        changed = list(differences(_read(out / metric.name / FILE, facts), facts))
        if changed:
            raise DataError(
                f"'{out / metric.name}' has scores of another evaluation ({some(changed, 3)}); expected the same command, or another --out."
            )
    for name, facts in described.items():
        if not (out / name / FILE).is_file():
            write_atomically(out / name / FILE, f"{json.dumps(facts, indent=1)}\n".encode(), durable=True)


def score_files(scoring: Scoring, out: Path) -> Iterable[Path]:
    """Return the files of scores of an evaluation, by metric and shard."""
    numbers = scoring.shards
    return [scores_path(out, metric.name, number) for metric in scoring.metrics for number in numbers]


def digest_of(path: Path) -> str:
    """Return a digest of a file's content, or of the names and sizes of the files below a folder.

    Raises:
        DataError: if there is no such file, or none in the folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "a.png").write_bytes(b"1")
        ...     before = digest_of(Path(folder))
        ...     _ = (Path(folder) / "a.png").write_bytes(b"12")
        ...     before == digest_of(Path(folder))
        False
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    found = sorted((str(file.relative_to(path)), file.stat().st_size) for file in path.rglob("*") if file.is_file())
    if not found:
        raise DataError(f"'{path}' has no file; expected masks or annotations.")
    return _digest(found)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8", "backslashreplace")).hexdigest()


def _read(path: Path, expected: Mapping[str, Any]) -> Any:
    """Return what a file says; what is expected where there is none."""
    if not path.is_file():
        return expected
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read: {error}. Expected the file as 'camtool eval' wrote it.") from error
