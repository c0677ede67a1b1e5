"""The default layer: the deepest one whose cells are known to lie over the picture; and whose attention is taken."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolError
from tests.attribution.drawn import assert_drawn, assert_words, explained
from tests.token_networks import (
    AttentionHead,
    Detector,
    MixedTokens,
    PicturesAndWords,
    QueryNet,
    RecurrentSignal,
    RolledTokens,
    TokenNet,
    TwoBranches,
    WordsOfPictures,
    pictures,
    words,
)

ATTENTION_METHODS = ("rollout", "genericattention", "legrad", "gradrollout")


def derived(network: nn.Module, inputs: Any, target: int = 1) -> tuple[str, tuple[int, ...], str]:
    """Return the default layer, the grid it is drawn as, and how that is known."""
    result, remarks = explained(network, None, inputs, target=target)
    assert not remarks
    (layer,) = result.layers
    return layer, tuple(result.raw[layer].shape[1:]), result.layout_evidence[layer]


@pytest.mark.parametrize("axes", ["nlc", "lnc", "ncl"])
@pytest.mark.parametrize(
    ("size", "patch", "stride", "extra"),
    [
        ((28, 28), 7, 7, (1, 0, 0)),
        ((28, 28), 7, 7, (51, 0, 0)),
        ((28, 28), 7, 7, (1, 0, 12)),
        ((32, 32), 8, 4, (1, 0, 0)),
        ((16, 28, 28), (2, 7, 7), (2, 7, 7), (1, 0, 0)),
        ((300,), 10, 10, (1, 0, 0)),
    ],
)
def test_the_last_block_of_a_transformer_is_the_default_with_the_grid_of_its_tokens(
    size: tuple[int, ...], patch: Any, stride: Any, extra: tuple[int, int, int], axes: str
) -> None:
    network = TokenNet(size, patch, stride=stride, width=49, extra=extra, axes=axes, pool="token", norm=nn.RMSNorm).eval()
    layer, grid, evidence = derived(network, pictures(size))
    assert layer.startswith("blocks[1]"), layer
    assert grid == network.arrangement.grid
    assert evidence == "measured"


def test_the_default_layers_map_is_the_one_by_hand() -> None:
    network = TokenNet((28, 28), 7, width=49, extra=(1, 0, 0), pool="token").eval()
    result, _ = explained(network, None, pictures((28, 28)))
    assert result.layers == ["blocks[1].norm1"]
    named = assert_drawn(network, "blocks[1].norm1", pictures((28, 28)), network.arrangement.maps)
    assert torch.equal(named.raw["blocks[1].norm1"], result.raw["blocks[1].norm1"])


@pytest.mark.parametrize("length", [4, 5, 7, 9, 10, 12, 16, 17, 64, 77])
@pytest.mark.parametrize(("count", "captions"), [(1, 1), (2, 2), (3, 3), (1, 3), (2, 3)])
def test_words_are_never_the_default(length: int, count: int, captions: int) -> None:
    inputs = {"pixel_values": pictures((32, 32), count), "input_ids": words(captions, length)}
    layer, grid, _ = derived(PicturesAndWords().eval(), inputs, captions - 1)
    assert layer.startswith("vision"), layer
    assert grid == (4, 4)


@pytest.mark.parametrize("length", [4, 9, 16, 64])
def test_words_that_read_the_picture_are_never_the_default(length: int) -> None:
    layer, grid, _ = derived(WordsOfPictures().eval(), {"pixel_values": pictures((32, 32)), "input_ids": words(2, length)})
    assert layer.startswith("vision"), layer
    assert grid == (4, 4)


@pytest.mark.parametrize("queries", [4, 9, 16, 17, 20, 64, 100])
def test_queries_and_latents_are_never_the_default(queries: int) -> None:
    layer, grid, evidence = derived(QueryNet(queries).eval(), pictures((32, 32)))
    assert layer.startswith("encoder"), layer
    assert grid == (8, 8)
    assert evidence == "measured"


@pytest.mark.parametrize("square", [False, True], ids=["one query", "queries of all tokens"])
@pytest.mark.parametrize("heads", [1, 4, 16])
def test_attention_weights_are_never_the_default(heads: int, square: bool) -> None:
    layer, grid, _ = derived(AttentionHead(square=square, heads=heads).eval(), pictures((64, 64)))
    assert layer.startswith("body"), layer
    assert grid == (4, 4)


def test_the_default_of_two_branches_is_tokens_of_one_of_them() -> None:
    layer, grid, _ = derived(TwoBranches().eval(), pictures((32, 32)))
    assert layer.startswith(("norms", "coarse", "fine")), layer
    assert grid == ((4, 4) if layer.startswith(("norms[0]", "coarse")) else (8, 8))


@pytest.mark.parametrize("anchors", [1, 2, 3, 9])
def test_scores_of_boxes_are_never_the_default(anchors: int) -> None:
    layer, grid, _ = derived(Detector(anchors).eval(), pictures((64, 64)))
    assert (layer, grid) == ("body", (8, 8))


@pytest.mark.parametrize("width", [16, 36, 49])
def test_a_layer_that_looks_everywhere_is_no_default_where_one_before_it_is_known(width: int) -> None:
    layer, grid, _ = derived(MixedTokens(width=width).eval(), pictures((32, 32)))
    assert layer.startswith("body"), layer
    assert grid == (4, 4)


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_default_of_a_recurrent_network_lies_over_time(batch_first: bool) -> None:
    for length in (300, 600):
        layer, grid, _ = derived(RecurrentSignal(batch_first=batch_first).eval(), pictures((length,), channels=1))
        assert grid == (length // 10,), layer


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm, nn.Identity])
def test_the_default_of_a_transformer_over_a_signal_lies_over_time(norm: Callable[..., nn.Module]) -> None:
    network = TokenNet((1000,), 10, width=48, channels=1, norm=norm).eval()
    _, grid, _ = derived(network, pictures((1000,), channels=1))
    assert grid == (100,)


@pytest.mark.parametrize("order", ["windows", "column-major"])
def test_the_default_of_tokens_in_another_order_is_drawn_in_raster_order(order: str) -> None:
    network = TokenNet((32, 48), 8, width=20, order=order).eval()
    result, remarks = explained(network, None, pictures((32, 48)))
    (layer,) = result.layers
    if layer == "norm":  # behind the blocks, of the same tokens
        layer = "blocks[1]"
    assert layer.startswith("blocks[1]")
    named = assert_drawn(network, layer, pictures((32, 48)), network.arrangement.maps)
    assert named.raw[layer].shape == next(iter(result.raw.values())).shape
    assert not remarks


@pytest.mark.parametrize("method", ATTENTION_METHODS)
def test_attention_is_that_of_the_pictures_tower_or_refused(method: str) -> None:
    network = PicturesAndWords().eval()
    for count, length in ((2, 9), (2, 16), (2, 17), (2, 77)):
        try:
            result, _ = explained(network, None, {"pixel_values": pictures((32, 32)), "input_ids": words(count, length)}, method=method)
        except CamtoolError as error:
            assert_words(error)
        else:
            assert all(layer.startswith("vision") for layer in result.layers), result.layers
            assert next(iter(result.raw.values())).shape == (2, 4, 4)


def roll(tokens: Tensor) -> Tensor:
    return torch.cat([tokens[:, :1], tokens[:, 1:].roll(3, dims=1)], dim=1)


def drop(tokens: Tensor) -> Tensor:
    """Keep the class token and every other of the 16 cells: eight of them could be 2x4."""
    return torch.cat([tokens[:, :1], tokens[:, 1::2]], dim=1)


def most(tokens: Tensor) -> Tensor:
    """Keep the class token and nine of the 16 cells, as token pruning does: they could be 3x3."""
    return tokens[:, :10]


@pytest.mark.parametrize("change", [roll, drop, most])
@pytest.mark.parametrize("method", ATTENTION_METHODS)
def test_attention_among_tokens_that_were_moved_or_dropped_is_refused_or_warned_of(method: str, change: Callable[[Tensor], Tensor]) -> None:
    try:
        _, remarks = explained(RolledTokens(change).eval(), None, pictures((32, 32)), method=method)
    except CamtoolError as error:
        assert_words(error)
    else:
        assert remarks, "attention of tokens of other places, chained without a word"


@pytest.mark.parametrize("order", ["windows", "column-major", "shuffled"])
@pytest.mark.parametrize("method", ["rollout", "genericattention"])
def test_attention_of_tokens_in_another_order_is_drawn_in_place_or_refused(method: str, order: str) -> None:
    network = TokenNet((32, 48), 8, width=20, order=order, extra=(1, 0, 0), pool="token").eval()
    plain = TokenNet((32, 48), 8, width=20, extra=(1, 0, 0), pool="token").eval()
    plain.load_state_dict(network.state_dict())
    with torch.no_grad():  # the same network, its cells in raster order
        places = torch.cat([torch.zeros(1, dtype=torch.long), 1 + network.arrangement.order.argsort()])
        plain.position.copy_(network.position[:, places])
    torch.testing.assert_close(plain(pictures((32, 48))), network(pictures((32, 48))))
    expected, _ = explained(plain, None, pictures((32, 48)), method=method)
    try:
        found, remarks = explained(network, None, pictures((32, 48)), method=method)
    except CamtoolError as error:
        assert_words(error)
    else:
        assert remarks or torch.allclose(found.maps, expected.maps, atol=1e-3)


def test_a_layer_of_moved_tokens_is_drawn_where_it_looks_or_refused() -> None:
    network = RolledTokens(roll).eval()
    arrangement = network.body.arrangement
    assert_drawn(network, "body.blocks[0]", pictures((32, 32)), arrangement.maps)
    layer = {layer.path: layer for layer in CAM(network).probe(pictures((32, 32))).layers}["later.norm1"]
    assert layer.grid in (None, (4, 4))
