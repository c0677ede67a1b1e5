"""Classifiers of Hugging Face from a local directory: built, fed and named as transformers does."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import (
    ASTConfig,
    ASTForAudioClassification,
    PretrainedConfig,
    PreTrainedModel,
    T5Config,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
)

from camtool.apis import Explainer
from camtool.config.loading import load_config
from camtool.config.overrides import parse_options
from camtool.errors import CheckpointError, ConfigError
from camtool.io.images import read_picture
from camtool.models import load_network
from camtool.models.sources.huggingface_source import HuggingFaceModel
from tests.cli.fixtures import Run

CAT = Path(__file__).resolve().parents[3] / "demo/cat.jpg"
LABELS = {0: "cat", 1: "dog", 2: "<b>hen</b>"}


def config(**changes: object) -> ViTConfig:
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
    }
    return ViTConfig(**{**sizes, "id2label": LABELS, "label2id": {name: index for index, name in LABELS.items()}, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What save_pretrained() leaves of a tiny ViT and its image processor."""
    path = tmp_path_factory.mktemp("vit")
    torch.manual_seed(1)
    ViTForImageClassification(config()).save_pretrained(path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(path)
    return path


def test_weights_input_and_names_are_those_of_the_directory(folder: Path) -> None:
    network = load_network(load_config(f"hf/{folder}"))
    theirs = ViTForImageClassification.from_pretrained(folder).eval()
    expected = ViTImageProcessor.from_pretrained(folder)(images=Image.open(CAT).convert("RGB"), return_tensors="pt")["pixel_values"]
    inputs = network.preprocess(read_picture(CAT))
    torch.testing.assert_close(inputs, expected, rtol=0, atol=2 / 255 / 0.5)  # processors of two back ends round differently
    with torch.no_grad():
        torch.testing.assert_close(network.model(inputs).logits, theirs(inputs).logits)
    assert network.class_names(3) == (list(LABELS.values()), "")
    assert network.checkpoint == str(folder)
    assert network.digest == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert network.probabilities(torch.zeros(1, 3))[1] == "softmax"


def test_another_checkpoint_of_this_network_is_loaded(folder: Path, saved: Callable[..., str]) -> None:
    state = {key: value + 1 for key, value in ViTForImageClassification(config()).state_dict().items()}
    network = load_network(load_config(f"hf/{folder}"), saved(state))
    assert torch.equal(network.model.get_parameter("classifier.bias"), state["classifier.bias"])


def test_random_weights_are_not_those_of_the_directory(folder: Path) -> None:
    network = load_network(load_config(f"hf/{folder}"), random_weights=True)
    theirs = ViTForImageClassification.from_pretrained(folder)
    assert not torch.equal(network.model.get_parameter("classifier.weight"), theirs.classifier.weight)


def test_labels_that_say_nothing_are_no_names(tmp_path: Path) -> None:
    ViTForImageClassification(ViTConfig(**{**config().to_dict(), "id2label": {0: "LABEL_0", 1: "LABEL_1"}})).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    assert load_network(load_config(f"hf/{tmp_path}")).class_names(2)[0] is None


def test_several_labels_at_once_are_a_sigmoid_of_each(tmp_path: Path) -> None:
    ViTForImageClassification(config(problem_type="multi_label_classification")).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    assert load_network(load_config(f"hf/{tmp_path}")).probabilities(torch.zeros(1, 3))[1] == "sigmoid"


def test_a_network_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    ViTModel(config()).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"has no weights for classifier\.bias, classifier\.weight"):
        load_network(load_config(f"hf/{tmp_path}"))


def test_a_directory_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Cannot load .* as a classifier of transformers: .*Expected a directory with config.json"):
        load_network(load_config(f"hf/{tmp_path}"))


def test_a_directory_without_weights_names_the_random_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as without_config:
        load_network(load_config(f"hf/{tmp_path}"))
    assert "--random-weights" not in str(without_config.value)  # it would not help
    config().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"\. Expected a directory with config\.json and weights.*, --random-weights\.$"):
        load_network(load_config(f"hf/{tmp_path}"))


def test_a_directory_without_an_image_processor_can_be_given_a_preprocessing(tmp_path: Path) -> None:
    ViTForImageClassification(config()).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"has no preprocessor_config\.json.*save_pretrained\(.*model\.preprocess\.resize=224"):
        load_network(load_config(f"hf/{tmp_path}"))
    network = load_network(load_config(f"hf/{tmp_path}", {"model.preprocess": {"resize": 32, "crop": 32}}))
    assert network.preprocess(read_picture(CAT)).shape == (1, 3, 32, 32)


def test_the_options_that_are_named_for_a_directory_without_an_image_processor_work(tmp_path: Path) -> None:
    ViTForImageClassification(config(image_size=224, patch_size=32)).save_pretrained(tmp_path)
    with pytest.raises(ConfigError) as refusal:
        load_network(load_config(f"hf/{tmp_path}"))
    options = [word for word in str(refusal.value).removesuffix(".").split() if word.startswith("model.")]
    network = load_network(load_config(f"hf/{tmp_path}", parse_options(options)))
    expected = ViTImageProcessor()(images=Image.new("RGB", (224, 224), (50, 100, 200)), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(network.preprocess(np.full((224, 224, 3), (50, 100, 200), np.uint8)), expected, rtol=0, atol=1e-5)


def test_a_name_is_needed() -> None:
    with pytest.raises(ConfigError, match="needs 'name': a directory, or a name on the hub"):
        load_network(load_config("hf/x", {"model.name": ""}))


def test_code_in_a_repository_is_not_run(folder: Path, tmp_path: Path) -> None:
    text = (folder / "config.json").read_text()
    (tmp_path / "config.json").write_text(
        text.replace('"model_type": "vit"', '"model_type": "own", "auto_map": {"AutoConfig": "trap.Trap"}')
    )
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    with pytest.raises(ConfigError, match="Cannot load"):
        load_network(load_config(f"hf/{tmp_path}"))
    assert not (tmp_path / "sprung").exists()


def test_without_transformers_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['transformers'] = None\n"
        "from camtool.models import load_network; from camtool.config.loading import load_config\n"
        "load_network(load_config('hf/x'))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (
        "ConfigError: Networks of Hugging Face need the package transformers, which is not installed: 'pip install \"camtool[hf]\"'"
        in finished.stderr
    )


def of_config(settings: PretrainedConfig, folder: Path) -> HuggingFaceModel:
    """Return the source of a network of which only the config is there."""
    settings.save_pretrained(folder)
    return HuggingFaceModel(load_config(f"hf/{folder}"))


AUDIO = {
    "audio-spectrogram-transformer": "ntf",
    "whisper": "nct",
    "wav2vec2-bert": "ntc",
}
TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "label2id": {"a": 0, "b": 1, "c": 2}}
TINY["id2label"] = {0: "a", 1: "b", 2: "c"}


@pytest.mark.parametrize("kind", transformers.MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING, ids=lambda kind: kind.__name__)
def test_every_video_classifier_takes_frames_before_channels(kind: type[PretrainedConfig], tmp_path: Path) -> None:
    assert of_config(kind(), tmp_path).input_axes == "ntchw"


@pytest.mark.parametrize("kind", transformers.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING, ids=lambda kind: kind.__name__)
def test_every_audio_classifier_takes_raw_audio_or_is_known(kind: type[PretrainedConfig], tmp_path: Path) -> None:
    assert of_config(kind(), tmp_path).input_axes == AUDIO.get(kind.model_type, "nt")


def test_an_image_classifier_takes_pictures(folder: Path) -> None:
    assert load_network(load_config(f"hf/{folder}")).source.input_axes == "nchw"


def test_a_config_that_states_the_axes_wins(tmp_path: Path) -> None:
    ASTConfig().save_pretrained(tmp_path)
    assert HuggingFaceModel(load_config(f"hf/{tmp_path}", {"cam.input_axes": "nft"})).input_axes == "nft"


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (
            VideoMAEForVideoClassification(VideoMAEConfig(**TINY, image_size=16, patch_size=8, num_frames=4)),
            (2, 4, 3, 16, 16),
            r"\(videomae\) classifies clips, not pictures: it takes a tensor pixel_values \(n, t, c, h, w\)",
        ),
        (
            ASTForAudioClassification(ASTConfig(**TINY, patch_size=8, frequency_stride=8, time_stride=8, max_length=32, num_mel_bins=16)),
            (2, 32, 16),
            r"\(audio-spectrogram-transformer\) classifies sounds, not pictures: it takes a tensor input_values \(n, t, f\)",
        ),
    ],
    ids=["video", "audio"],
)
@pytest.mark.filterwarnings("ignore:.*no positive evidence")  # the networks are made while the tests are collected, without a seed
def test_classifiers_of_clips_and_sounds_are_loaded_and_explain_tensors(
    model: PreTrainedModel, shape: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    explainer = Explainer(f"hf/{tmp_path}", method="randomcam")
    network, tensor = explainer.network, torch.rand(shape)
    with torch.no_grad():
        torch.testing.assert_close(network.model(tensor).logits, model.eval()(tensor).logits)
    assert network.class_names(3)[0] == ["a", "b", "c"]
    letters = network.source.input_axes
    spatial = [size for size, letter in zip(shape, letters, strict=True) if letter not in "nc"]
    assert explainer.cam.input_axes == letters
    assert explainer.cam(tensor, 1)["randomcam"].maps.shape == (2, *spatial)
    with pytest.raises(ConfigError, match=f"^'{tmp_path}' {message}. Make it with the model's own processor"):
        explainer(CAT)


@pytest.mark.parametrize("command", [["vis", CAT], ["layers"]], ids=["vis", "layers"])
def test_on_the_command_line_a_picture_for_a_network_of_clips_is_one_readable_error(
    command: list[object], run: Run, tmp_path: Path
) -> None:
    VideoMAEConfig(**TINY, image_size=16, patch_size=8, num_frames=4).save_pretrained(tmp_path)
    finished = run(*command, f"hf/{tmp_path}", "--random-weights")
    assert finished.exit_code == 2
    assert "classifies clips, not pictures: it takes a tensor pixel_values (n, t, c, h, w)" in " ".join(finished.stderr.split())
    assert "Traceback" not in finished.stderr


def test_a_network_that_is_no_classifier_of_these_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"is a network of the type 't5', for which transformers \S+ has no image, video or audio classif"
    ):
        of_config(T5Config(), tmp_path)
