"""Networks of transformers tell the axes of their inputs, alone and inside another module."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from camtool import CAM, deep_feature_factorization
from camtool.errors import CamtoolError
from camtool.instrumentation.network_inputs import network_inputs

SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
CLIPS: dict[str, Any] = {**SIZES, "image_size": 32, "num_frames": 4}
WAVES: dict[str, Any] = {
    **SIZES,
    "conv_dim": (16, 16),
    "conv_stride": (5, 2),
    "conv_kernel": (10, 3),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 16,
}
WHISPER: dict[str, Any] = {"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_layers": 1}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
VJEPA2 = {"frames_per_clip": 4, "mlp_ratio": 2, "num_pooler_layers": 1, "pred_hidden_size": 32, "pred_num_attention_heads": 2}
BERT = {"feature_projection_input_dim": 24, "left_max_position_embeddings": 8, "right_max_position_embeddings": 4}
SERIES: dict[str, Any] = {"num_input_channels": 3, "context_length": 64, "patch_length": 8, "patch_stride": 8, "num_hidden_layers": 1}

Build = Callable[[], nn.Module]


def waves(kind: str, **options: Any) -> Build:
    return lambda: getattr(hf, f"{kind}ForSequenceClassification")(getattr(hf, f"{kind}Config")(**WAVES, **options))


# The network, its input's name, axes, own shape, and the shape n, c, spatial
FAMILIES: dict[str, tuple[Build, str, str, tuple[int, ...], tuple[int, ...]]] = {
    "videomae": (
        lambda: hf.VideoMAEForVideoClassification(hf.VideoMAEConfig(**CLIPS, patch_size=8)),
        *("pixel_values", "ntchw", (2, 4, 3, 32, 32), (2, 3, 4, 32, 32)),
    ),
    "vivit": (
        lambda: hf.VivitForVideoClassification(hf.VivitConfig(**CLIPS, tubelet_size=[2, 8, 8])),
        *("pixel_values", "ntchw", (2, 4, 3, 32, 32), (2, 3, 4, 32, 32)),
    ),
    "timesformer": (
        lambda: hf.TimesformerForVideoClassification(hf.TimesformerConfig(**CLIPS, patch_size=8)),
        *("pixel_values", "ntchw", (2, 4, 3, 32, 32), (2, 3, 4, 32, 32)),
    ),
    "vjepa2": (
        lambda: hf.VJEPA2ForVideoClassification(hf.VJEPA2Config(**SIZES, **VJEPA2, crop_size=32, patch_size=8, pred_num_hidden_layers=1)),
        *("pixel_values_videos", "ntchw", (2, 4, 3, 32, 32), (2, 3, 4, 32, 32)),
    ),
    "ast": (
        lambda: hf.ASTForAudioClassification(
            hf.ASTConfig(**SIZES, patch_size=8, frequency_stride=8, time_stride=8, max_length=64, num_mel_bins=24)
        ),
        *("input_values", "ntf", (2, 64, 24), (2, 1, 64, 24)),
    ),
    "whisper": (
        lambda: hf.WhisperForAudioClassification(
            hf.WhisperConfig(**WHISPER, **IDS, decoder_attention_heads=2, num_mel_bins=20, max_source_positions=30, vocab_size=50)
        ),
        *("input_features", "nct", (2, 20, 60), (2, 20, 60)),
    ),
    "wav2vec2-bert": (
        lambda: hf.Wav2Vec2BertForSequenceClassification(
            hf.Wav2Vec2BertConfig(**SIZES, **BERT, classifier_proj_size=16, conv_depthwise_kernel_size=5)
        ),
        *("input_features", "ntc", (2, 50, 24), (2, 24, 50)),
    ),
    "patchtst": (
        lambda: hf.PatchTSTForClassification(hf.PatchTSTConfig(**SERIES, d_model=16, num_attention_heads=2, ffn_dim=32, num_targets=3)),
        *("past_values", "ntc", (2, 64, 3), (2, 3, 64)),
    ),
    "vit": (
        lambda: hf.ViTForImageClassification(hf.ViTConfig(**SIZES, image_size=32, patch_size=8)),
        *("pixel_values", "nchw", (2, 3, 32, 32), (2, 3, 32, 32)),
    ),
} | {
    kind: (waves(kind), "input_values", "nt", (2, 900), (2, 1, 900))
    for kind in ("Wav2Vec2", "Hubert", "Data2VecAudio", "UniSpeech", "UniSpeechSat", "WavLM", "Wav2Vec2Conformer")
}
for sew in ("SEW", "SEWD"):
    FAMILIES[sew] = (waves(sew, squeeze_factor=2), "input_values", "nt", (2, 900), (2, 1, 900))


class Scores(nn.Module):
    """The scores of a network of transformers, as other tools want it; `change` the input on its way there."""

    def __init__(self, inner: nn.Module, change: Callable[[Tensor], Tensor] = lambda inputs: inputs) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(self.change(inputs)).logits


def network(family: str) -> nn.Module:
    """Return a seeded tiny network with weights that give every layer a gradient."""
    torch.manual_seed(0)
    model = FAMILIES[family][0]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_is_run_with_the_axes_of_its_family(family: str) -> None:
    _, name, letters, shape, canonical = FAMILIES[family]
    model, tensor = network(family), torch.rand(shape)
    mask = torch.ones(2, 3, dtype=torch.long)
    for inputs in (tensor, (tensor,), {name: tensor}, {"mask": mask, name: tensor}):
        found = network_inputs(model, inputs)
        assert (found.axes.letters, found.picture.shape) == (letters, canonical)
    given = network_inputs(model, {name: tensor})
    with torch.no_grad():
        logits = given.run(model)["prediction_logits" if family == "patchtst" else "logits"]
        # Each sample's scores are its own: n is the batch.
        one = given.sample(1).run(model)["prediction_logits" if family == "patchtst" else "logits"]
    torch.testing.assert_close(logits[1:], one, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", ["videomae", "ast", "whisper", "wav2vec2-bert"])
def test_a_network_inside_another_module_tells_them_where_it_gets_the_input_as_it_is(family: str) -> None:
    _, _, letters, shape, _ = FAMILIES[family]
    inner, tensor = network(family), torch.rand(shape)
    unchanged: list[Callable[[Tensor], Tensor]] = [
        lambda inputs: inputs,
        lambda inputs: (inputs - inputs.mean()) / inputs.std(),
        nn.Dropout(0.9),  # in training mode; the question is asked in eval mode
    ]
    for change in unchanged:
        model = Scores(inner, change).train()
        assert network_inputs(model, tensor).axes.letters == letters
        assert not inner._forward_pre_hooks
        assert all(module.training for module in (model, *model.children()))
    turned = tensor.transpose(1, 2).contiguous()
    found = network_inputs(Scores(inner, lambda inputs: inputs.transpose(1, 2)), turned)
    assert found.axes.letters.startswith("nc")
    assert found.picture.shape == turned.shape


def test_an_input_that_is_turned_on_its_way_inside_is_not_taken_for_the_networks_own_by_its_size() -> None:
    square = torch.rand(2, 24, 24)
    inner = hf.ASTForAudioClassification(hf.ASTConfig(**SIZES, patch_size=8, max_length=24, num_mel_bins=24))
    assert network_inputs(Scores(inner), square).axes.letters == "ntf"
    for change in (lambda inputs: inputs.transpose(1, 2), lambda inputs: inputs.transpose(1, 2) / inputs.std()):
        assert network_inputs(Scores(inner, change), square).axes.letters == "ncw"  # one number answers alone, or all do


def test_hooks_are_gone_after_an_error_before_the_network_inside() -> None:
    def fail(inputs: Tensor) -> Tensor:
        raise ValueError("not today")

    model = Scores(network("ast"), fail)
    with pytest.raises(ValueError, match="not today"):
        network_inputs(model, torch.rand(2, 64, 24))
    assert not model.inner._forward_pre_hooks


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
@pytest.mark.parametrize("family", ["ast", "Wav2Vec2", "timesformer"])
def test_maps_lie_over_the_inputs_own_spatial_axes(family: str) -> None:
    _, name, _, shape, canonical = FAMILIES[family]
    model, tensor = network(family), torch.rand(shape)
    for inputs in (tensor, {name: tensor}):
        assert CAM(model, method="hirescam")(inputs, 0).maps.shape == (2, *canonical[2:])
    assert deep_feature_factorization(model, tensor, 2).maps.shape == (2, 2, *canonical[2:])


def test_axes_that_are_given_win() -> None:
    assert network_inputs(network("ast"), torch.rand(2, 64, 24), axes="nct").picture.shape == (2, 64, 24)


def test_inputs_of_unknown_axes_are_refused() -> None:
    siglip = hf.Siglip2ForImageClassification(
        hf.Siglip2Config(vision_config={**SIZES, "num_patches": 16, "patch_size": 4}, text_config=SIZES)
    )
    message = (
        r"The axes of pixel_values \(2, 16, 48\) of Siglip2ForImageClassification, a network of transformers, are not known; name them by "
        "input_axes=…"
    )
    patches = torch.rand(2, 16, 48)
    for inputs in (patches, {"pixel_values": patches, "pixel_attention_mask": torch.ones(2, 16, dtype=torch.long)}):
        with pytest.raises(CamtoolError, match=message):
            network_inputs(siglip, inputs)
    with pytest.raises(CamtoolError, match=message):
        network_inputs(Patched(siglip), patches)
    assert network_inputs(siglip, patches, axes="ntc").picture.shape == (2, 48, 16)


class Patched(nn.Module):
    """Scores of a network of patches, whose sizes are known."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, patches: Tensor) -> Tensor:
        return self.inner(patches, torch.ones(2, 16, dtype=torch.long), torch.tensor([[4, 4], [4, 4]])).logits


def test_words_are_read_from_their_embeddings() -> None:
    bert = hf.BertForSequenceClassification(hf.BertConfig(**SIZES, vocab_size=50))
    words = torch.rand(2, 10, 32)
    assert network_inputs(bert, {"inputs_embeds": words}).axes.letters == "ntc"
    assert network_inputs(bert, {"inputs_embeds": words, "other": torch.rand(2, 3, 4)}, "inputs_embeds").axes.letters == "ntc"
