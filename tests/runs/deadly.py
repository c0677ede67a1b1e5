"""A data set of which a sample ends the process that reads it."""

import os
import signal
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from tests.runs.tiny import CLASSES, SIZE


class Deadly(Dataset[tuple[np.ndarray, int]]):
    """Seeded noise (h, w, 3) and its label; reading sample `deadly` kills the process, so many times.

    Args:
        deaths: the file that counts them.
        most: how many.
    """

    def __init__(self, count: int, deaths: Path, deadly: int = 100, most: int = 1) -> None:
        generator = torch.Generator().manual_seed(0)
        self._pictures = torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator).numpy()
        self._deaths, self._deadly, self._most = deaths, deadly, most

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        if number == self._deadly and self.counted() < self._most:
            with self._deaths.open("a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return self._pictures[number], number % CLASSES

    def counted(self) -> int:
        """Return the number of deaths so far."""
        return len(self._deaths.read_text()) if self._deaths.exists() else 0
