"""Stores that tests write: seeded random maps, labels and importances, or rows of one's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from camtool.store import Store
from camtool.store import open as open_store
from camtool.store.layout import write_run
from camtool.store.schema import Row
from camtool.store.writer import write_rows

SHARD = 64


def write_store(folder: Path, rows: Sequence[Row], *, half: bool = False, **run: Any) -> Store:
    """Write rows, ordered by id, as the store of a finished run, and return it."""
    samples = max(row.id for row in rows) + 1
    importances = bool(run.get("importances", any(row.importances is not None for row in rows)))
    described = {"fingerprint": {"target": "predicted"}, "samples": samples, "shard_size": SHARD, "half": half, "importances": importances}
    write_run(folder, {**described, **run})
    for number in range(-(-samples // SHARD)):
        part = [row for row in rows if row.id // SHARD == number]
        write_rows(folder, number, part, half=half, importances=importances)
    return open_store(folder)


def random_rows(
    count: int = 150,
    classes: int = 3,
    channels: int = 8,
    size: Sequence[int] = (4, 5),
    methods: Sequence[str] = ("gradcam",),
    layers: Sequence[str] = ("layer4",),
    seed: int = 0,
) -> list[Row]:
    """Return rows of random maps; each tenth sample is unreadable, each sixth is predicted wrongly."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for number in range(count):
        label = number % classes
        predicted = (label + 1) % classes if number % 6 == 0 else label
        for method in methods:
            if number % 10 == 3:
                rows.append(Row(number, f"{number}.png", method=method, label=label, status="unreadable", reason="truncated"))
                continue
            for layer in layers:
                raw = torch.randn(*size, generator=generator) * 3 + 0.5
                logit = float(torch.randn((), generator=generator))
                rows.append(
                    Row(
                        number,
                        f"{number}.png",
                        method=method,
                        label=label,
                        predicted=predicted,
                        target=predicted,
                        probability=float(torch.sigmoid(torch.tensor(logit))),
                        logit=logit,
                        layer=layer,
                        map=raw,
                        placement=(*(8.0 for _ in size), *(3.5 for _ in size)),
                        importances=torch.randn(channels, generator=generator),
                    )
                )
    return rows
