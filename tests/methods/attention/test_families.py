"""Attention methods on the transformers of the libraries: defined where every token attends to every token, refused elsewhere."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchcam.methods import LeGrad as PeersLeGrad

from camtool import CAM
from camtool.errors import MethodError
from camtool.layouts import Tokens
from tests.methods.attention.networks import PlainViT
from tests.methods.kinds import OF_ATTENTION
from tests.transformers import (
    CLASSES,
    FAMILIES,
    mmpretrain_distilled,
    mmpretrain_t2t,
    mmpretrain_vit,
    picture,
    spread,
    timm_vit,
    torch_encoder_length_first,
    torchvision_vit,
)

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")

WINDOWS = {
    "mmpretrain Swin": (r"'backbone\.stages\[0\]\.blocks\[0\]\.attn\.w_msa'", r"\(32, 1, 16, 16\): .*windows"),
    "timm Swin": (r"'layers\[0\]\.blocks\[0\]\.attn'", r"\(32, 1, 16, 16\): .*windows"),
    "torchvision Swin": (r"'features\[1\]\[0\]\.attn'", r"\(32, 1, 16, 16\): .*windows"),
    "mmpretrain PCPVT": (r"'backbone\.stages\[0\]\[0\]\.attn'", r"\(2, 1, 64, 4\): .*pooled"),
    "mmpretrain MViT": (r"'backbone\.blocks\[0\]\.attn'", r"\(2, 1, 256, 16\): .*pooled"),
    "mmpretrain XCiT": (r"'backbone\.xca_layers\[0\]\.attn'", r"\(2, 1, 32, 32\): .*channels"),
}
DEFINED = [family for family in FAMILIES if family not in WINDOWS]


@pytest.mark.parametrize("name", OF_ATTENTION)
@pytest.mark.parametrize("family", WINDOWS)
def test_attention_that_is_not_between_all_tokens_is_refused_with_layer_and_shape(family: str, name: str) -> None:
    layer, shape = WINDOWS[family]
    inputs = picture(size=(64, 64) if "MViT" in family else (32, 32))
    with pytest.raises(MethodError, match=f"Not defined for this network: '{name}'. Layer {layer} has attention of shape {shape}"):
        CAM(FAMILIES[family](), method=name)(inputs, 0)


@pytest.mark.parametrize("family", DEFINED)
def test_every_family_has_maps_and_batch_equals_single(family: str) -> None:
    cam, inputs = CAM(FAMILIES[family](), method=OF_ATTENTION), picture()
    batch = cam(inputs, [[1, 3], [0, 2]])
    layers, grid = (2, (2, 2)) if "T2T" in family else (3, (4, 4))
    for name, result in batch.items():
        assert result.raw["attention"].shape == (2, 2, *grid)
        assert len(result.layers) == layers
        assert result.raw["attention"].amax() > 0
        for sample, targets in enumerate(([1, 3], [0, 2])):
            single = cam(inputs[sample : sample + 1], [targets])[name]
            torch.testing.assert_close(single.raw["attention"][0], result.raw["attention"][sample], rtol=1e-4, atol=1e-6)


def test_fused_and_unfused_attention_give_the_same_maps() -> None:
    inputs = picture()
    one, other = (CAM(spread_alike(fused), method=OF_ATTENTION)(inputs, 1) for fused in (True, False))
    for name in OF_ATTENTION:
        torch.testing.assert_close(one[name].raw["attention"], other[name].raw["attention"], rtol=1e-4, atol=1e-6)


def spread_alike(fused: bool) -> nn.Module:
    torch.manual_seed(0)
    return timm_vit(fused=fused)


def rows_read(model: nn.Module, inputs: Tensor) -> list[int]:
    """Return the rows whose mean rollout gives, found by trying: an independent check of what is measured in the product."""
    from camtool.instrumentation.attention import AttentionRecorder

    with AttentionRecorder(model) as recorder:
        model(inputs)
    total = None
    for record in recorder.records:
        mixed = record.weights.detach().mean(dim=1) + torch.eye(record.weights.shape[-1])
        mixed = mixed / mixed.sum(dim=-1, keepdim=True)
        total = mixed if total is None else mixed @ total
    assert total is not None
    raw = CAM(model, method="rollout")(inputs, 0).raw["attention"].flatten(1)
    length, cells = total.shape[-1], raw.shape[1]
    extra = length - cells
    choices = {"0": [0], "0 and 1": [0, 1], "patches": list(range(extra, length)), "all": list(range(length))}
    return next(rows for rows in choices.values() if torch.allclose(total[:, rows, extra:].mean(dim=1), raw, atol=1e-6))


@pytest.mark.parametrize(
    ("make", "rows"),
    [
        (mmpretrain_vit, [0]),
        (mmpretrain_distilled, [0, 1]),
        (lambda: timm_vit(pool="avg"), list(range(16))),
        (FAMILIES["mmpretrain BEiT"], list(range(1, 17))),
    ],
    ids=["class token", "class and distillation token", "pooled", "pooled beside a class token"],
)
def test_the_map_is_that_of_the_tokens_which_the_score_reads(make: Callable[[], nn.Module], rows: list[int]) -> None:
    assert rows_read(make(), picture()) == rows


def test_t2t_uses_the_last_run_of_layers_over_the_same_tokens() -> None:
    result = CAM(mmpretrain_t2t(), method="rollout")(picture(), 0)
    assert result.layers == ["backbone.encoder[0].attn", "backbone.encoder[1].attn"]


@pytest.mark.parametrize("make", [lambda: mmpretrain_vit((32, 48)), lambda: timm_vit(size=(32, 48))], ids=["mmpretrain", "timm"])
def test_inputs_need_not_be_square(make: Callable[[], nn.Module]) -> None:
    results = CAM(make(), method=OF_ATTENTION)(picture(size=(32, 48)), 1)
    for result in results.values():
        assert result.raw["attention"].shape == (2, 4, 6)
        assert result.maps.shape == (2, 32, 48)


def test_the_number_of_extra_tokens_is_believed_when_given() -> None:
    model, inputs = mmpretrain_vit(), picture()
    found, given = (CAM(model, method="rollout", layout=layout)(inputs, 0) for layout in (None, Tokens(num_extra_tokens=1)))
    assert torch.equal(found.maps, given.maps)
    with pytest.raises(MethodError, match=r"The 17 tokens of layer 'backbone.layers\[2\].attn' .* after 0 extra tokens make no grid"):
        CAM(model, method="rollout", layout=Tokens(num_extra_tokens=0))(inputs, 0)


def test_a_network_without_attention_is_refused() -> None:
    with pytest.raises(MethodError, match=r"'rollout'\. No attention was recorded: expected scaled_dot_product_attention"):
        CAM(torchvision.models.resnet18(num_classes=CLASSES), method="rollout")(picture(), 0)


class Folded(nn.Module):
    """One self-attention as old code writes it, heads folded into the batch; `twice` takes another beside it."""

    def __init__(self, *, heads: int, twice: bool = False) -> None:
        super().__init__()
        self.patches, self.qkv, self.head = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 24), nn.Linear(8, CLASSES)
        self.heads, self.twice = heads, twice

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        parts = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).flatten(1, 2)  # 3, (n heads), length, width
        query, key, value = parts
        mixed = (query @ key.transpose(1, 2)).softmax(dim=-1) @ value
        if self.twice:
            mixed = mixed - (key @ query.transpose(1, 2)).softmax(dim=-1) @ value
        return self.head(mixed.unflatten(0, (-1, self.heads)).transpose(1, 2).flatten(2).mean(dim=1))


def test_heads_folded_into_the_batch_are_refused_whatever_the_batch_and_a_single_head_is_read() -> None:
    for count in (1, 2):
        with pytest.raises(MethodError, match=rf"Layer '' has attention of shape \({2 * count}, 16, 16\): .*folded"):
            CAM(spread(Folded(heads=2)), method="rollout")(picture(count), 0)
    result = CAM(spread(Folded(heads=1)), method=OF_ATTENTION)(picture(), 0)
    assert result["legrad"].raw["attention"].shape == (2, 4, 4)


def test_two_attentions_side_by_side_are_refused() -> None:
    with pytest.raises(MethodError, match="second attention in one call of that layer"):
        CAM(spread(Folded(heads=1, twice=True)), method="rollout")(picture(), 0)


class Staged(nn.Module):
    """Two stages of one block list each: no list whose items hold one attention."""

    def __init__(self) -> None:
        super().__init__()
        inner = timm_vit()
        self.inner = inner
        inner.blocks = nn.Sequential(nn.Sequential(inner.blocks[0], inner.blocks[1]), nn.Sequential(inner.blocks[2]))

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images)


def test_legrad_without_blocks_of_one_attention_each_is_refused_and_the_others_are_not() -> None:
    with pytest.raises(MethodError, match=r"'legrad' needs blocks with one attention each.*'inner.blocks\[0\]\[0\].attn'"):
        CAM(Staged(), method="legrad")(picture(), 0)
    CAM(Staged(), method="genericattention")(picture(), 0)


class Mixing(nn.Module):
    """A tail that looks across the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = timm_vit()

    def forward(self, images: Tensor) -> Tensor:
        scores = self.inner(images)
        return scores - scores.mean(dim=0)


class Reshaping(Mixing):
    """A tail that has the number of images from what lies before the blocks."""

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images).reshape(len(images), CLASSES)


class Skipping(Mixing):
    """A tail that adds something of the image itself."""

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images) + images.mean(dim=(1, 2, 3)).unsqueeze(1)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("make", [Reshaping, Skipping])
def test_legrad_with_a_tail_that_takes_more_than_tokens_from_before_it(make: type[Mixing], count: int) -> None:
    model = make()
    raw, plain = (CAM(one, method="legrad")(picture(count), 1).raw["attention"] for one in (model, model.inner))
    torch.testing.assert_close(raw, plain)


class TwoStreams(Mixing):
    """Blocks that put out two streams, as reversible ones do."""

    def __init__(self) -> None:
        super().__init__()
        for block in self.inner.blocks:
            block.register_forward_hook(lambda *call: (call[2], call[2]))
            block.register_forward_pre_hook(lambda *call: call[1][0][:1] if isinstance(call[1][0], tuple) else None)
        self.inner.norm.register_forward_pre_hook(lambda *call: call[1][0][0])

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images)


def test_legrad_with_blocks_that_put_out_more_than_tokens_is_refused() -> None:
    with pytest.raises(MethodError, match="needs blocks with one attention each that put out tokens"):
        CAM(TwoStreams(), method="legrad")(picture(), 0)


def test_legrad_with_a_tail_that_is_no_function_of_each_samples_tokens_is_refused() -> None:
    with pytest.raises(MethodError, match=r"'legrad' scores each layer's tokens by what follows the last block, 'inner.blocks\[2\]'"):
        CAM(Mixing(), method="legrad")(picture(), 0)


class Tupled(nn.Module):
    """A block that puts out (tokens, (h, w)), as the stages of some backbones do."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, given: Tensor | tuple[Tensor, tuple[int, int]]) -> tuple[Tensor, tuple[int, int]]:
        return self.block(given[0] if isinstance(given, tuple) else given), (4, 4)


class First(nn.Module):
    def forward(self, given: tuple[Tensor, tuple[int, int]]) -> Tensor:
        return given[0]


def test_legrad_takes_tokens_out_of_tuples_and_with_the_length_in_front() -> None:
    torch.manual_seed(0)
    plain = timm_vit()
    inputs = picture()
    expected = CAM(plain, method="legrad")(inputs, 1).raw["attention"]
    plain.blocks, plain.norm = nn.Sequential(*map(Tupled, plain.blocks)), nn.Sequential(First(), plain.norm)
    torch.testing.assert_close(CAM(plain, method="legrad")(inputs, 1).raw["attention"], expected)
    one, other = torch_encoder_length_first(), FAMILIES["nn.TransformerEncoder"]()
    other.load_state_dict(one.state_dict())
    raws = [CAM(model, method="legrad")(inputs, 1).raw["attention"] for model in (one, other)]
    torch.testing.assert_close(*raws, rtol=1e-4, atol=1e-7)


class Adding(nn.Module):
    """A block that first adds something to what the block before put out, in place or not."""

    def __init__(self, block: nn.Module, *, in_place: bool) -> None:
        super().__init__()
        self.block = block
        self.in_place = in_place

    def forward(self, tokens: Tensor) -> Tensor:
        shift = torch.linspace(-1, 1, tokens.shape[2])
        return self.block(tokens.add_(shift) if self.in_place else tokens + shift)


def test_legrad_reads_tokens_as_they_were_before_a_later_block_changed_them_in_place() -> None:
    model, inputs = timm_vit(), picture()
    blocks, raws = list(model.blocks), []
    for in_place in (False, True):
        model.blocks = nn.Sequential(*(Adding(block, in_place=in_place) for block in blocks))
        raws.append(CAM(model, method="legrad")(inputs, 1).raw["attention"])
    torch.testing.assert_close(*raws)


def test_activation_checkpointing_is_said() -> None:
    model = timm_vit()
    model.set_grad_checkpointing(True)
    with pytest.raises(MethodError, match="checkpoints its activations"):
        CAM(model, method="genericattention")(picture(), 0)


def test_groups_of_windows_on_an_axis_of_their_own_are_refused() -> None:
    class Grouped(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.unfold(2, 8, 8).softmax(dim=-1).flatten(1)[:, :CLASSES]

    with pytest.raises(MethodError, match=r"\(2, 3, 4, 32, 8\): it has more axes than that"):
        CAM(Grouped(), method="rollout")(picture(), 0)


def peers_legrad(model: nn.Module, inputs: Tensor, targets: list[int], **options: object) -> np.ndarray:
    with PeersLeGrad(model, list(model.encoder.layers), **options) as extractor:
        extractor._hooks_enabled = True
        model(inputs)
        (maps,) = extractor(targets, normalized=False)
    return maps.numpy()


@pytest.mark.parametrize("layers", [1, 3])
def test_legrad_equals_torchcams_where_both_score_the_token_that_the_network_reads(layers: int) -> None:
    # torchcam's own choice for torchvision's ViT is the mean of all tokens; the network reads its class token.
    model, inputs = torchvision_vit(layers), picture()

    def read(tokens: Tensor) -> Tensor:
        return model.heads(model.encoder.ln(tokens)[:, 0])

    theirs = peers_legrad(model, inputs, [1, 3], score_projection=read)
    ours = CAM(model, method="legrad")(inputs, [1, 3])
    np.testing.assert_allclose(ours.raw["attention"].numpy(), theirs, rtol=1e-4, atol=1e-8)
    by_default = peers_legrad(model, inputs, [1, 3])
    assert not np.allclose(by_default, theirs, rtol=0.1)


class MeanViT(torchvision.models.VisionTransformer):
    """A ViT that reads what torchcam scores by default: the norm of the mean of all tokens."""

    def forward(self, images: Tensor) -> Tensor:
        tokens = self._process_input(images)
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.encoder.pos_embedding
        return self.heads(self.encoder.ln(self.encoder.layers(tokens).mean(dim=1)))


def test_legrad_equals_torchcams_default_on_a_network_that_reads_the_mean_of_all_tokens() -> None:
    model = spread(MeanViT(image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=CLASSES))
    inputs = picture()
    ours = CAM(model, method="legrad")(inputs, [1, 3])
    np.testing.assert_allclose(ours.raw["attention"].numpy(), peers_legrad(model, inputs, [1, 3]), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("family", ["timm ViT, fused", "torchvision ViT"])
def test_cdam_is_hirescam_at_the_first_norm_of_the_last_block(family: str, batch: int) -> None:
    cam = CAM(FAMILIES[family](), method=["cdam", "hirescam"])
    results = cam(picture(batch), 1)
    assert cam.target_layers == [{"timm ViT, fused": "blocks[2].norm1", "torchvision ViT": "encoder.layers.encoder_layer_2.ln_1"}[family]]
    assert torch.equal(results["cdam"].maps, results["hirescam"].maps)


def test_cdam_at_a_layer_without_tokens_is_refused() -> None:
    with pytest.raises(MethodError, match=r"'cdam' is defined for tokens; layer 'layer4\[1\]' gives \(2, 512, 2, 2\), which is read as Ch"):
        CAM(torchvision.models.resnet18(num_classes=CLASSES), "layer4[-1]", "cdam")(picture(size=(64, 64)), 0)


class LastToken(PlainViT):
    """The class token behind the patches."""

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens, self.token.expand(len(tokens), -1, -1)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens)[:, -1])


@pytest.mark.parametrize("name", OF_ATTENTION)
def test_a_class_token_behind_the_patches_is_refused_and_not_taken_for_one(name: str) -> None:
    with pytest.raises(MethodError, match=r"reads the last 1 of 17 tokens only; expected tokens that are not positions .* in front"):
        CAM(LastToken().eval(), method=name)(torch.randn(2, 2, 8, 8), 0)


class Towers(nn.Module):
    """Two transformers side by side, or one that sees two pictures."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.left = PlainViT()
        self.right = self.left if shared else PlainViT()

    def forward(self, images: Tensor) -> Tensor:
        return self.left(images) - self.right(images.flip(-1))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", OF_ATTENTION)
def test_attention_in_two_branches_is_refused_since_it_is_no_chain(name: str, shared: bool) -> None:
    message = r"'(right|left)\.blocks\[0\]' does not follow from that of 'left\.blocks\[2\]', recorded before it"
    with pytest.raises(MethodError, match=message):
        CAM(Towers(shared=shared).eval(), method=name)(torch.randn(2, 2, 8, 8), 0)
