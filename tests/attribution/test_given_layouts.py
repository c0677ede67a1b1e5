"""Layouts that a user states: obeyed, measured only to warn, refused where they are impossible."""

from typing import Any

import pytest
import torch
from torch import Tensor

from camtool import CAM
from camtool.errors import CamtoolError, CamtoolWarning, ConfigError
from tests.attribution.drawn import CLASS, assert_drawn, assert_words, difference, explained, score
from tests.token_networks import Arrangement, CellNet, MixedTokens, TokenNet, by_hand, pictures

LAYER = "blocks[0]"


def tokens(grid: tuple[int, ...] | None = None, **options: Any) -> dict[str, Any]:
    """Return the layout `dict(type='Tokens', …)`."""
    return {"type": "Tokens", **({} if grid is None else {"grid": grid}), **options}


def network(size: tuple[int, ...] = (32, 48), patch: Any = 8, **options: Any) -> TokenNet:
    torch.manual_seed(1)
    return TokenNet(size, patch, **{"width": 24, "extra": (1, 0, 0)} | options).eval()


@pytest.mark.parametrize(
    ("options", "layout"),
    [
        ({}, tokens((4, 6), front=1)),
        ({}, tokens((4, 6), front=1, behind=0, batch_axis=0)),
        ({}, tokens(num_extra_tokens=1)),
        ({}, tokens(front=1)),
        ({"extra": (51, 0, 0)}, tokens(num_extra_tokens=51)),
        ({"extra": (0, 0, 4)}, tokens((4, 6), front=0, behind=4)),
        ({"extra": (1, 0, 30)}, tokens((4, 6), front=1, behind=30)),
        ({"extra": (1, 0, 0), "axes": "lnc"}, tokens((4, 6), front=1, batch_axis=1)),
        ({"extra": (1, 0, 0), "axes": "lnc"}, tokens(num_extra_tokens=1)),
        ({"extra": (2, 0, 1), "axes": "ncl"}, tokens((4, 6), front=2, behind=1)),
        ({"size": (16, 28, 28), "patch": (2, 7, 7)}, tokens((8, 4, 4), front=1)),
        ({"size": (200,), "extra": (0, 0, 1)}, tokens((25,), behind=1)),
        ({"size": (32, 32), "patch": 8, "width": 64}, tokens((4, 4), front=1, behind=0)),
    ],
    ids=str,
)
def test_a_right_layout_is_used_without_a_remark(options: dict[str, Any], layout: dict[str, Any]) -> None:
    one = network(**options)
    inputs = pictures([cells * cell for cells, cell in zip(one.arrangement.grid, one.patches.stride, strict=True)])
    assert_drawn(one, LAYER, inputs, one.arrangement.maps, layout=layout, evidence="given")


def test_a_right_layout_of_overlapping_patches_is_used_without_a_remark() -> None:
    one = network((32, 32), stride=4)  # 7x7 + 1
    for layout in (tokens(num_extra_tokens=1), tokens((7, 7), front=1)):
        assert_drawn(one, LAYER, pictures((32, 32)), one.arrangement.maps, layout=layout, evidence="given")


@pytest.mark.parametrize(
    ("true", "given"),
    [
        (Arrangement((4, 6), front=1), Arrangement((6, 4), front=1)),
        (Arrangement((4, 6), front=1), Arrangement((3, 8), front=1)),
        (Arrangement((4, 6), front=1), Arrangement((4, 6), behind=1)),  # a shift by one: correlation is blind to it
        (Arrangement((4, 6), behind=1), Arrangement((4, 6), front=1)),
        (Arrangement((4, 6), front=1, behind=2), Arrangement((4, 6), front=3)),
        (Arrangement((25,), behind=1), Arrangement((25,), front=1)),
        (Arrangement((4, 6), front=4), Arrangement((4, 7))),  # cells that are prompts
        (Arrangement((2, 4, 6), front=1), Arrangement((4, 2, 6), front=1)),
    ],
    ids=lambda arrangement: f"{arrangement.grid} {arrangement.front} {arrangement.behind}",
)
def test_a_wrong_layout_is_obeyed_with_a_warning(true: Arrangement, given: Arrangement) -> None:
    size = [8 * cells for cells in true.grid]
    one = network(tuple(size), extra=(true.front, 0, true.behind))
    layout = tokens(given.grid, front=given.front, behind=given.behind)
    expected = by_hand(one, one.blocks[0], pictures(size), score, given.maps)
    result, remarks = explained(one, LAYER, pictures(size), layout=layout)
    assert difference(result.raw[LAYER], expected) < 1e-3, "it is obeyed"
    assert len(remarks) == 1
    assert LAYER in remarks[0]
    assert result.layout_evidence == {LAYER: "given"}


def test_a_wrong_layout_is_warned_of_once_where_the_layer_is_derived() -> None:
    with pytest.warns(CamtoolWarning) as caught:
        result = CAM(network(depth=3), layout=tokens((2, 12), front=1))(pictures((32, 48)), targets=CLASS)

    (warning,) = caught
    assert f"Layer '{result.layers[0]}': the given layout is used, NLC + 1, a grid of 2x12, but" in str(warning.message)
    assert str(warning.message).endswith("look at the places of NLC + 1, a grid of 4x6.")


@pytest.mark.parametrize("extra", [(0, 1, 0), (0, 0, 1)])
def test_a_number_of_extra_tokens_says_that_they_stand_in_front(extra: tuple[int, int, int]) -> None:
    one = network(extra=extra)
    expected = by_hand(one, one.blocks[0], pictures((32, 48)), score, Arrangement((4, 6), front=1).maps)
    result, remarks = explained(one, LAYER, pictures((32, 48)), layout=tokens(num_extra_tokens=1))
    assert difference(result.raw[LAYER], expected) < 1e-3
    assert len(remarks) == 1


@pytest.mark.parametrize("axes", ["nlc", "lnc", "ncl"])
def test_tokens_alone_leave_the_rest_to_measurement(axes: str) -> None:
    one = network(extra=(1, 0, 0), axes=axes)
    expected = by_hand(one, one.blocks[0], pictures((32, 48)), score, one.arrangement.maps)
    for layout in ("Tokens", tokens()):
        result, remarks = explained(one, LAYER, pictures((32, 48)), layout=layout)
        assert difference(result.raw[LAYER], expected) < 1e-3
        assert not remarks


def test_a_wrong_order_of_cells_is_warned_of() -> None:
    one = network(order="column-major")
    _, remarks = explained(one, LAYER, pictures((32, 48)), layout=tokens((4, 6), front=1))
    assert len(remarks) == 1


@pytest.mark.parametrize(("last", "layout"), [(False, "ChannelsLast"), (True, "ChannelsFirst")])
def test_the_wrong_axis_of_a_cube_is_warned_of_and_the_right_one_is_not(last: bool, layout: str) -> None:
    one = CellNet(2, 4, 8, last=last).eval()
    result, remarks = explained(one, "block", pictures((32, 32)), layout=layout)
    assert len(remarks) == 1
    assert result.layout_evidence == {"block": "given"}
    right = {"ChannelsLast": "ChannelsFirst", "ChannelsFirst": "ChannelsLast"}[layout]
    assert_drawn(one, "block", pictures((32, 32)), one.maps, layout=right, evidence="given")


def test_nothing_is_said_of_a_layout_that_cannot_be_measured() -> None:
    one = MixedTokens().eval()
    result, remarks = explained(one, "mixing", pictures((32, 32)), layout=tokens((4, 4)))
    assert not remarks
    assert result.layout_evidence == {"mixing": "given"}
    assert result.raw["mixing"].shape == (2, 4, 4)


def test_a_callable_gives_the_maps_of_a_tensor() -> None:
    one = network(extra=(1, 2, 0), order="column-major", axes="lnc")
    assert_drawn(one, LAYER, pictures((32, 48)), one.arrangement.maps, layout=one.arrangement.maps, evidence="given")

    def reshape_transform(tensor: Tensor) -> Tensor:
        """As users of other packages have it in their code."""
        return tensor[:, 1:].reshape(tensor.size(0), 4, 6, tensor.size(2)).transpose(2, 3).transpose(1, 2)

    plain = network()
    assert_drawn(plain, LAYER, pictures((32, 48)), plain.arrangement.maps, layout=reshape_transform, evidence="given")


def test_a_callable_that_misplaces_cells_is_obeyed_with_a_warning() -> None:
    one, wrong = network(), Arrangement((6, 4), front=1)
    expected = by_hand(one, one.blocks[0], pictures((32, 48)), score, wrong.maps)
    result, remarks = explained(one, LAYER, pictures((32, 48)), layout=wrong.maps)
    assert difference(result.raw[LAYER], expected) < 1e-3
    assert len(remarks) == 1


@pytest.mark.parametrize(
    "layout",
    [
        tokens((5, 5), front=1),
        tokens((4, 6), front=2),
        tokens((4, 6), front=0, behind=0),
        tokens((24,), front=1),
        tokens((2, 3, 4), front=1),
        tokens(num_extra_tokens=25),
        lambda tensor: tensor,
        lambda tensor: tensor[:, 1:].mean(1),
        lambda tensor: tensor.shape,
        lambda tensor: tensor[:1, 1:].transpose(1, 2).unflatten(2, (4, 6)),
    ],
    ids=lambda layout: str(layout) if isinstance(layout, dict) else None,
)
def test_an_impossible_layout_is_refused_in_words(layout: Any) -> None:
    with pytest.raises(CamtoolError) as refused:
        CAM(network(), LAYER, layout=layout)(pictures((32, 48)), CLASS)
    assert_words(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        {"grid": (0, 4)},
        {"grid": (4, -6)},
        {"grid": ()},
        {"grid": (4.0, 6.0)},
        {"front": -1},
        {"behind": 1.5},
        {"front": True},
        {"batch_axis": 2.5},
        {"front": 1, "num_extra_tokens": 2},
        {"frnt": 1},
    ],
    ids=str,
)
def test_a_malformed_layout_is_refused_when_it_is_stated(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        CAM(network(), LAYER, layout=tokens(**options))


def test_a_given_layout_holds_for_perturbed_tokens_too() -> None:
    one = network(extra=(0, 0, 1))
    layout = tokens((4, 6), behind=1)
    for method in ("ablationcam", "scorecam", "eigencam"):
        found, _ = explained(one, LAYER, pictures((32, 48), 1), method=method)
        given, _ = explained(one, LAYER, pictures((32, 48), 1), method=method, layout=layout)
        assert found.raw[LAYER].shape == (1, 4, 6)
        torch.testing.assert_close(found.raw[LAYER], given.raw[LAYER])
