"""Every method sees the same cells, however a layer holds them: networks with the same weights whose tokens stand differently."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.attribution.drawn import CLASS, difference, explained
from tests.token_networks import Arrangement, TokenNet, pictures

LAYER, SIZE = "blocks[0]", (32, 48)
METHODS = (
    "gradcam",
    "gradcam++",
    "layercam",
    "xgradcam",
    "eigencam",
    "fem",
    "ablationcam",
    "scorecam",
    "sscam",
    "reciprocam",
)


def network(**options: Any) -> TokenNet:
    torch.manual_seed(1)
    return TokenNet(SIZE, 8, **{"width": 10, "extra": (1, 0, 0)} | options).eval()


def rearranged(plain: TokenNet, **options: Any) -> TokenNet:
    """Return the same network with its tokens in another arrangement: the embeddings of position go where their tokens go."""
    other = network(**options)
    other.load_state_dict(plain.state_dict())
    indices = torch.arange(plain.arrangement.length).reshape(1, 1, -1)
    old, new = plain.arrangement, other.arrangement
    maps = Arrangement(old.grid, old.front, old.middle, old.behind).maps(indices.transpose(1, 2))
    extra = indices[0, 0, : old.front][None, :, None]  # the plain network has all of them in front
    with torch.no_grad():
        other.position.copy_(plain.position[:, new.tokens(maps, extra)[0, :, 0]])
    torch.testing.assert_close(other(pictures(SIZE)), plain(pictures(SIZE)))
    return other


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options",
    [
        {"axes": "lnc"},
        {"axes": "ncl"},
        {"order": "windows"},
        {"order": "column-major"},
        {"extra": (0, 0, 1)},
        {"extra": (0, 1, 0), "axes": "lnc"},
    ],
    ids=str,
)
def test_every_method_draws_the_same_map_however_tokens_are_held(options: dict[str, Any], method: str) -> None:
    plain = network()
    inputs = pictures(SIZE, 2)
    expected, _ = explained(plain, LAYER, inputs, method=method)
    found, remarks = explained(rearranged(plain, **options), LAYER, inputs, method=method)
    assert not remarks
    assert found.raw[LAYER].shape == expected.raw[LAYER].shape == (2, 4, 6)
    assert difference(found.raw[LAYER], expected.raw[LAYER]) < 1e-3


@pytest.mark.parametrize("options", [{"axes": "lnc"}, {"order": "windows"}, {"extra": (0, 0, 1)}], ids=str)
@pytest.mark.parametrize(
    "settings", [{"aug_smooth": True}, {"eigen_smooth": True}, {"method": {"type": "Smooth", "method": "gradcam"}}], ids=str
)
def test_wrappers_and_augmentation_draw_the_same_map_however_tokens_are_held(settings: dict[str, Any], options: dict[str, Any]) -> None:
    plain = network()
    expected, _ = explained(plain, LAYER, pictures(SIZE, 2), **settings)
    found, _ = explained(rearranged(plain, **options), LAYER, pictures(SIZE, 2), **settings)
    torch.testing.assert_close(found.maps, expected.maps, atol=2e-3, rtol=0)


@pytest.mark.parametrize("count", [1, 10, 25, 26])
def test_batches_of_perturbed_copies_as_large_as_the_length_are_no_lengths(count: int) -> None:
    plain = network()
    expected, _ = explained(plain, LAYER, pictures(SIZE, count), method="ablationcam")
    found, _ = explained(rearranged(plain, axes="lnc"), LAYER, pictures(SIZE, count), method="ablationcam")
    assert difference(found.raw[LAYER], expected.raw[LAYER]) < 1e-3


@pytest.mark.parametrize("axes", ["nlc", "ncl", "lnc"])
@pytest.mark.parametrize("extra", [(1, 0, 0), (0, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize("order", ["raster", "windows"])
def test_ablated_channels_are_put_back_where_the_cells_stand(order: str, extra: tuple[int, int, int], axes: str) -> None:
    one = network(order=order, extra=extra, axes=axes, width=10)
    inputs = pictures((32, 48), 1)
    found, _ = explained(one, LAYER, inputs, method="ablationcam")
    kept: list[Tensor] = []

    def score_without(places: Tensor) -> Tensor:
        """Return the score where the elements at these places in memory are zero."""

        def change(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            kept.append(output.clone())
            changed = output.flatten().clone()
            changed[places.flatten()] = 0
            return changed.reshape(output.shape)

        handle = one.blocks[0].register_forward_hook(change)
        with torch.no_grad():
            logits = one(inputs)
        handle.remove()
        return logits[0, CLASS]

    whole = score_without(torch.empty(0, dtype=torch.long))
    places = one.arrangement.maps(torch.arange(kept[0].numel()).reshape(kept[0].shape))[0]  # (c, *grid); none of an extra token
    weights = torch.stack([whole - score_without(channel) for channel in places])
    expected = (weights[:, None, None] * one.arrangement.maps(kept[0])[0]).sum(0, keepdim=True)
    assert difference(found.raw[LAYER], expected) < 1e-2
