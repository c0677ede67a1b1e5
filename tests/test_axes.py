"""Letters of an input's axes, and the way to n, c, spatial and back."""

import itertools
import random

import pytest
import torch

from camtool.axes import Axes, default_axes
from camtool.errors import CamtoolError

SIZES = {"n": 2, "c": 3, "t": 4, "h": 5, "w": 6}


def shuffled(spatial: str, *, channels: bool) -> list[str]:
    """Return eight seeded orders of the axes; the spatial ones of one rank in every order, too."""
    letters = "n" + ("c" if channels else "") + spatial
    draw = random.Random(letters)
    return ["".join(draw.sample(letters, len(letters))) for _ in range(8)]


ORDERS = sorted({order for spatial in ("t", "hw", "thw") for channels in (False, True) for order in shuffled(spatial, channels=channels)})


@pytest.mark.parametrize("letters", ORDERS)
def test_every_element_keeps_its_place_on_each_axis(letters: str) -> None:
    axes = Axes(letters)
    own = torch.arange(torch.Size(SIZES[letter] for letter in letters).numel(), dtype=torch.float32)
    own = own.reshape([SIZES[letter] for letter in letters])
    picture = axes.to_picture(own)
    spatial = [letter for letter in letters if letter not in "nc"]
    assert picture.shape == (2, 3 if "c" in letters else 1, *(SIZES[letter] for letter in spatial))
    for place in itertools.product(*(range(SIZES[letter]) for letter in letters)):
        index = dict(zip(letters, place, strict=True))
        assert picture[(index["n"], index.get("c", 0), *(index[letter] for letter in spatial))] == own[place]
    assert torch.equal(axes.from_picture(picture), own)
    assert picture.is_contiguous()
    assert axes.from_picture(picture).is_contiguous()


@pytest.mark.parametrize("letters", ORDERS)
def test_gradients_flow_from_the_networks_own_axes_to_the_picture(letters: str) -> None:
    axes = Axes(letters)
    own = torch.rand([SIZES[letter] for letter in letters], dtype=torch.float64)
    picture = axes.to_picture(own).clone().requires_grad_()
    (gradient,) = torch.autograd.grad((axes.from_picture(picture) * own).sum(), picture)
    assert torch.equal(gradient, axes.to_picture(own))


def test_what_is_n_c_spatial_already_is_not_copied() -> None:
    picture = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert Axes("nchw").to_picture(picture) is picture
    assert Axes("ncab").from_picture(picture) is picture
    assert [default_axes(rank) for rank in (2, 6)] == [None, None]
    assert [default_axes(rank).spatial for rank in (3, 4, 5)] == ["w", "hw", "dhw"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("letters", "message"),
    [
        ("NCHW", "got 'NCHW': each axis is a lower-case letter"),
        ("n c h w", "each axis is a lower-case letter"),
        ("", "each axis is a lower-case letter"),
        ("nćhw", "each axis is a lower-case letter"),
        ("nchh", "each axis has a letter of its own"),
        ("nccw", "each axis has a letter of its own"),
        ("chw", "no axis is the batch, n"),
        ("nc", "0 axes are spatial"),
        ("n", "0 axes are spatial"),
        ("nctzyx", "4 axes are spatial"),
    ],
)
def test_letters_that_cannot_be_meant_are_refused(letters: str, message: str) -> None:
    with pytest.raises(CamtoolError, match=message) as raised:
        Axes(letters)
    assert "such as 'nchw', 'ntchw' or 'ntf'" in str(raised.value)


@pytest.mark.parametrize(
    ("letters", "shape", "message"),
    [
        (
            "ntchw",
            (1, 3, 8, 8),
            r"input has the axes \(n, t, c, h, w\), which takes pictures \(n, c, t, h, w\); got one of shape \(1, 3, 8, 8\)",
        ),
        ("nhw", (1, 3, 8, 8), r"\(n, h, w\), which takes pictures \(n, 1, h, w\); got one of shape \(1, 3, 8, 8\)"),
    ],
)
def test_a_picture_with_other_axes_is_refused(letters: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(CamtoolError, match=message):
        Axes(letters).from_picture(torch.zeros(shape))
