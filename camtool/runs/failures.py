"""Counts of what could not be explained in a whole store, whichever process made it."""

from collections import Counter
from pathlib import Path

from camtool.errors import CamtoolError
from camtool.store.layout import manifest, read_record, shard_numbers


class Failures:
    """Counts of what could not be explained in the whole store; every record of the manifest is read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counts: dict[int, tuple[dict[str, int], dict[str, int]]] = {}

    def add(self, number: int, failures: dict[str, int], remarks: dict[str, int]) -> None:
        """Count a shard that is made, and may not be in the store yet.

        Args:
            failures: by status the number of failed samples.
            remarks: by status the number of maps with a remark.
        """
        self._counts[number] = (failures, remarks)

    def read(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return by status the number of failed samples, and of maps with a remark."""
        there = set(shard_numbers(self._folder))
        for number, records in manifest(self._folder).items():
            if number in there and number not in self._counts:
                sha256, path = next(iter(records.items()))
                record = read_record(path, sha256)
                self._counts[number] = (record.failures, record.remarks)
        failures: Counter[str] = Counter()
        remarks: Counter[str] = Counter()
        for number in sorted(self._counts):
            failures.update(self._counts[number][0])
            remarks.update(self._counts[number][1])
        return dict(failures), dict(remarks)

    @property
    def total(self) -> int:
        """Number of failed samples, as last read and added."""
        return sum(sum(failures.values()) for failures, _ in self._counts.values())

    def check(self, further: int, most: int | None) -> None:
        """Raise CamtoolError if more samples than `most` could not be explained."""
        if most is None:
            return
        self.read()
        if self.total + further > most:
            raise CamtoolError(
                f"{self.total + further} samples could not be explained, more than --max-failures {most}; what is done is in the store, "
                "and the same command with a larger number goes on."
            )
