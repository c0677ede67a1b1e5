"""Where the tokens of attention look, as one layer's scores tell it against the others'."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from camtool import CAM
from camtool.errors import CamtoolError
from camtool.instrumentation.attention_places import AttentionFindings, TokenPlaces
from tests.methods.attention.networks import PlainBlock, plain_vit


def pictures() -> Tensor:
    return torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("method", ["rollout", "genericattention"])
def test_where_scores_name_another_extra_token_the_tokens_that_are_given_decide(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = CAM(plain_vit(), None, method)(pictures(), 1)
    measured, count = AttentionFindings._places, iter(range(100))

    def misled(self: AttentionFindings, *arguments: Any) -> TokenPlaces:
        place = measured(self, *arguments)
        assert place.cells is not None
        return replace(place, cells=place.cells - (place.cells < 4).long()) if next(count) == 3 else place  # the keys of the second layer

    monkeypatch.setattr(AttentionFindings, "_places", misled)
    found = CAM(plain_vit(), None, method)(pictures(), 1)
    assert next(count) > 3
    torch.testing.assert_close(found.maps, expected.maps)


class MovingBlock(PlainBlock):
    """Puts the class token behind the cells, among keys and values, and so all cells one place forward."""

    def forward(self, tokens: Tensor) -> Tensor:
        n, length, width = tokens.shape
        query, key, value = self.qkv(self.norm1(tokens)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        key, value = (part.roll(-1, dims=2) for part in (key, value))
        mixed = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(n, length, width))
        return tokens + self.mlp(self.norm2(tokens))


@pytest.mark.parametrize("method", ["rollout", "genericattention"])
def test_keys_that_a_layer_moves_itself_are_in_other_places(method: str) -> None:
    model = plain_vit()
    model.blocks[1].__class__ = MovingBlock
    with pytest.raises(CamtoolError, match="look at other places than the tokens before them"):
        CAM(model, None, method)(pictures(), 1)
