"""Random numbers: restored they go on; workers draw others each epoch."""

import random

import numpy as np
import pytest
import torch

from camtool.train.collate import seed_worker
from camtool.train.hooks.random_state_hook import random_state, restore


def _drawn() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item(), torch.randn(()).item()]


def test_every_generator_goes_on_from_its_restored_state(tmp_path) -> None:  # type: ignore[no-untyped-def]
    _drawn()  # a half-used pair of Gaussian numbers is part of the state
    torch.save(random_state(), tmp_path / "state.pth")
    expected = _drawn()
    _drawn()

    restore(torch.load(tmp_path / "state.pth", weights_only=True))

    assert _drawn() == expected


def test_a_worker_draws_other_numbers_each_epoch_and_on_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for epoch, rank in ((0, 0), (1, 0), (1, 1)):
        monkeypatch.setenv("RANK", str(rank))
        torch.manual_seed(epoch)  # as a data loader seeds its worker
        seed_worker(0)
        drawn.append(_drawn())
    torch.manual_seed(1)
    seed_worker(0)

    assert _drawn() == drawn[2]
    for one, other in ((0, 1), (1, 2)):
        assert all(mine != yours for mine, yours in zip(drawn[one], drawn[other], strict=True))
