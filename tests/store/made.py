"""Stores with seeded random rows, as a run writes them, without a network."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from camtool.io.images import encode
from camtool.placement import Placement
from camtool.store.layout import write_run
from camtool.store.schema import Row
from camtool.store.writer import write_rows
from camtool.visualization.inverse_preprocessing import stretched

INPUT = (32, 48)
CLASSES = ["cat", "dog", "fox"]


def random_rows(
    samples: Sequence[int], *, methods: Sequence[str] = ("gradcam",), seed: int = 0, size: tuple[int, ...] = (4, 6)
) -> list[Row]:
    """Return a row of each sample and method; of every seventh sample the label is unknown."""
    generator = torch.Generator().manual_seed(seed + 1000 * samples[0])
    place = Placement.even(size, INPUT[: len(size)])
    rows: list[Row] = []
    for number in samples:
        label = None if number % 7 == 6 else number % len(CLASSES)
        predicted = number % 4 % len(CLASSES)
        probability = 0.3 + 0.7 * float(torch.rand((), generator=generator))
        rows += [
            Row(
                number,
                f"{CLASSES[number % len(CLASSES)]}/{number:05d}.png",
                method=method,
                digest=hashlib.sha256(str(number).encode()).hexdigest(),
                label=label,
                predicted=predicted,
                target=predicted,
                probability=probability,
                logit=4 * probability,
                layer="features.7",
                map=torch.randn(size, generator=generator),
                placement=(*place.scale, *place.offset),
                input_size=INPUT[: len(size)],
            )
            for method in methods
        ]
    return rows


def failed(number: int, method: str = "gradcam") -> Row:
    """Return the row of a sample that cannot be read."""
    return Row(number, f"cat/{number:05d}.png", method=method, label=0, status="unreadable", reason="the file is truncated")


def make_store(
    folder: Path,
    samples: int = 20,
    shard_size: int = 8,
    *,
    rows: Callable[[Sequence[int]], list[Row]] = random_rows,
    half: bool = False,
    importances: bool = False,
    **description: Any,
) -> Path:
    """Write a whole store, the rows of each shard by `rows(its samples)`; return its folder."""
    described = {"fingerprint": {}, "samples": samples, "shard_size": shard_size, "half": half, "class_names": CLASSES, "root": None}
    write_run(folder, {**described, "importances": importances, **description})
    for number, shard in enumerate(shards_of(samples, shard_size)):
        write_rows(folder, number, rows(shard), half=half, importances=importances)
    return folder


def unmade(folder: Path, number: int) -> None:
    """Remove a shard and its records, as if the run had not come to it."""
    (folder / f"maps-{number:06d}.parquet").unlink()
    for record in (folder / "_manifest").glob(f"{number:06d}-*.json"):
        record.unlink()


def shards_of(samples: int, shard_size: int) -> Iterator[range]:
    """Yield the samples of each shard."""
    return (range(start, min(start + shard_size, samples)) for start in range(0, samples, shard_size))


def make_picture_store(
    folder: Path, root: Path, samples: int = 6, *, odd: Sequence[int] = (), placed: bool = True, **description: Any
) -> Path:
    """Write a store whose rows have pictures of 60x90 pixels below `root`, seen whole by an input of 32x48; `odd` samples have none.

    Args:
        placed: whether the rows say where the input lies on the picture.
    """
    drawn = np.random.default_rng(0)
    geometry = stretched(INPUT, (60, 90)).matrix.flatten().tolist()

    def rows(numbers: Sequence[int]) -> list[Row]:
        found = random_rows(numbers)
        for place, row in enumerate(found):
            content = encode(drawn.integers(0, 256, (6, 9, 3), dtype=np.uint8).repeat(10, axis=0).repeat(10, axis=1), ".png")
            if row.id not in odd:
                (root / row.path).parent.mkdir(parents=True, exist_ok=True)
                (root / row.path).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            found[place] = dataclasses.replace(row, digest=digest, geometry=tuple(geometry) if placed else None)
        return found

    return make_store(folder, samples, 8, rows=rows, root=str(root), **description)
