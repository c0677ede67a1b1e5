"""Wrong values of settings: one line of camtool's, whatever they are; NumPy's whole numbers are whole numbers."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from camtool import metrics
from camtool.errors import DataError
from camtool.metrics.settings import checked_seed, number, several_numbers, whole
from tests.cli.fixtures import ROOT


def test_no_public_function_raises_what_is_no_line_of_camtool() -> None:
    finished = subprocess.run([sys.executable, "-m", "tests.metrics.wrong_settings"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert finished.stdout == ""
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("value", [np.int64(2), np.int32(2), np.uint8(2), 2])
def test_whole_numbers_of_numpy_are_whole_numbers(value: object) -> None:
    assert type(whole(value, "a number")) is int
    assert checked_seed(value) == 2
    assert number(value, "a number", lambda one: one > 0) == 2.0


@pytest.mark.parametrize("value", [None, "2", 2.0, np.float64(2), True, np.bool_(True), torch.tensor(2), -1, 2**80, float("nan")])
def test_what_is_no_whole_number_is_said(value: object) -> None:
    with pytest.raises(DataError, match=r"^Expected a step of at least 1 position, got "):
        whole(value, "a step of at least 1 position")


@pytest.mark.parametrize("value", [None, "0.5", 0.5, [0.5, "a"], [0.5, float("nan")], [True]])
def test_what_are_no_numbers_is_said(value: object) -> None:
    with pytest.raises(DataError, match=r"^Expected fractions, got "):
        several_numbers(value, "fractions")


def test_a_substrate_without_numbers_names_what_is_expected() -> None:
    inputs, maps = torch.rand(1, 1, 4), torch.rand(1, 4)
    for substrate, got in ((float("nan"), "NaN or infinity"), (torch.zeros(3), r"shape \(3,\)")):
        with pytest.raises(DataError, match=rf"Expected a substrate that broadcasts .*, finite numbers or 'blur', got {got}"):
            metrics.deletion(nn.Flatten(), inputs, maps, 0, substrate=substrate)
