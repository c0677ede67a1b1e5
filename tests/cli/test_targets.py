"""What `--target`, `--against` and `--target-image` explain, and how reports and figures say it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.fixtures import CAT, ESPRESSO, LAST, LITE0, PAIR, Run

ROOT = Path(__file__).resolve().parents[2]
COLOURS = str(ROOT / "configs/torch_model/colours.py")

REGRESSION = """
import torch
from torch import nn


class Light(nn.Module):
    '''How much light there is, and how much of it is at the left: one number or two.'''

    def __init__(self, outputs=1):
        super().__init__()
        self.outputs = outputs
        self.features = nn.Conv2d(3, 2, 1, bias=False)
        nn.init.ones_(self.features.weight)

    def forward(self, picture):
        maps = self.features(picture)
        half = maps.shape[-1] // 2
        numbers = torch.stack([maps[:, 0].mean(dim=(1, 2)), maps[:, 1, :, :half].mean(dim=(1, 2))], dim=1)
        return numbers[:, : self.outputs].squeeze(1)
"""


def _light(folder: Path, outputs: int = 1) -> Path:
    (folder / "light.py").write_text(REGRESSION)
    config = folder / f"light{outputs}.py"
    config.write_text(
        f"model = dict(type='camtool.TorchModel', factory='light.py:Light', kwargs=dict(outputs={outputs}), with_weights=True,\n"
        "    preprocess=dict(resize=32, crop=32, mean=0, std=1))\n"
    )
    return config


def test_the_logit_is_what_is_explained_unless_asked_otherwise(run: Run) -> None:
    report = run("vis", CAT, LITE0, "--json").report

    assert report["target"]["name"] == "logit"
    assert report["target"]["explains"] == ["tiger cat (282)"]
    assert run("vis", CAT, LITE0, "--json", "--target", "logit").report["outputs"] == report["outputs"]


def test_a_probability_of_each_class_named(run: Run, tmp_path: Path) -> None:
    options = ["--target", "probability", "--target-category", "espresso", "281"]
    report = run("vis", PAIR, LITE0, "--json", "--save-path", "maps/", "--save-raw", "maps.npz", *options).report

    assert report["target"]["explains"] == ["probability of espresso (967)", "probability of tabby (281)"]
    assert report["target"]["values"] == pytest.approx([one["probability"] for one in report["targets"]], abs=1e-5)
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {
        f"cat_and_espresso_gradcam_probability_{index}.jpg" for index in (281, 967)
    }
    with np.load("maps.npz") as arrays:
        assert json.loads(str(arrays["meta"]))["target"] == report["target"]
        assert arrays["targets"].tolist() == [967, 281]


def test_a_contrast_takes_the_other_class_away(run: Run, tmp_path: Path) -> None:
    found = {}
    for name, options in {
        "cat": ["--target-category", "282"],
        "espresso": ["--target-category", "967"],
        "contrast": ["--target-category", "282", "--target", "contrast", "--against", "espresso"],
    }.items():
        assert run("vis", PAIR, LITE0, "--method", "hirescam", "--save-raw", f"{name}.npz", *options).exit_code == 0
        with np.load(f"{name}.npz") as arrays:
            found[name] = arrays[next(key for key in arrays if key.startswith("raw/"))]
            meta = json.loads(str(arrays["meta"]))

    np.testing.assert_allclose(found["contrast"], found["cat"] - found["espresso"], atol=1e-5)  # hirescam is linear in the target
    assert meta["target"]["against"] == 967
    assert meta["target"]["explains"] == ["tiger cat (282) against espresso (967)"]
    assert (tmp_path / "outputs/vis_cam/cat_and_espresso_efficientnet-lite0_in1k_hirescam_contrast.jpg").exists()


def test_finer_names_the_classes_it_compares_with(run: Run) -> None:
    finished = run("vis", CAT, LITE0, "--target", "finer")

    assert finished.exit_code == 0, finished.stderr
    assert "Explained: tiger cat (282) against " in finished.stdout
    assert finished.stdout.count("Saved:") == 1


def test_a_recipe_may_say_the_target_and_the_command_line_is_stronger(run: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text(f"_base_ = {LITE0!r}\ncam = dict(target=dict(type='FinerScore', references=1, alpha=1.0))\n")
    contrast = tmp_path / "contrast.py"
    contrast.write_text(f"_base_ = {LITE0!r}\ncam = dict(target=dict(type='ClassContrast', against='espresso'))\n")

    followed = run("vis", CAT, recipe, "--json").report["target"]
    overridden = run("vis", CAT, recipe, "--json", "--target", "probability").report["target"]
    by_name = run("vis", CAT, contrast, "--json").report["target"]

    assert (followed["name"], followed["references"], followed["alpha"]) == ("finer", 1, 1.0)
    assert overridden["name"] == "probability"
    assert by_name["against"] == 967


def test_the_caption_says_what_is_explained(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from camtool.visualization import blocks

    written: list[str] = []
    lines = blocks.text_lines
    monkeypatch.setattr(blocks, "text_lines", lambda texts, *rest, **named: (written.extend(texts), lines(texts, *rest, **named))[1])

    run("vis", CAT, LITE0, "--figure", "panel", "--target", "probability", "--target-category", "282")
    run("vis", CAT, LITE0, "--figure", "panel", "--target", "contrast", "--against", "281", "--target-category", "282")
    run("vis", CAT, LITE0, "--figure", "panel", "--target-image", ESPRESSO)

    assert any(text.startswith("probability of tiger cat (282), ") and text.endswith(" %") for text in written)
    assert any(text.startswith("tiger cat (282) against tabby (281), ") and "%" not in text for text in written)
    assert any(text.startswith("similarity to espresso.jpg, 0.") for text in written)


def test_what_makes_a_picture_like_another(run: Run, tmp_path: Path) -> None:
    report = run("vis", PAIR, LITE0, "--json", "--target-image", ESPRESSO, "--save-raw", "like.npz").report

    assert report["targets"] == [{"index": None, "name": "similarity to espresso.jpg", "probability": None}]
    assert report["target"]["embedding"] == "input of 'head.fc', 1280 numbers"
    assert report["layers"] == [LAST]  # its 1280 channels are no classes
    assert report["target"]["image"] == ESPRESSO
    assert 0 < report["target"]["values"][0] < 1
    assert report["top5"] == run("vis", PAIR, LITE0, "--json").report["top5"]  # of the scores, not of the embedding
    assert (
        report["outputs"][0].replace("\\", "/")
        == "outputs/vis_cam/cat_and_espresso_efficientnet-lite0_in1k_gradcam_similarity_espresso.jpg"
    )
    with np.load("like.npz") as arrays:
        saliency = arrays["map/gradcam"][0]
        assert arrays["logits"].shape == (1000,)
        assert arrays["targets"].tolist() == [-1]
        assert arrays["target_names"].tolist() == ["similarity to espresso.jpg"]
    run("vis", PAIR, LITE0, "--save-raw", "espresso.npz", "--target-category", "espresso")
    with np.load("espresso.npz") as arrays:
        assert np.corrcoef(saliency.ravel(), arrays["map/gradcam"].ravel())[0, 1] > 0.5


def test_the_table_says_what_likeness_is_measured_by(run: Run) -> None:
    table = run("vis", PAIR, LITE0, "--target-image", ESPRESSO).stdout

    assert "Explained: similarity to espresso.jpg, 0." in table
    assert "Embedding: input of 'head.fc', 1280 numbers" in table
    assert len([line for line in table.splitlines() if "%" in line]) == 5


def test_a_network_without_a_linear_head_is_compared_by_its_scores(run: Run, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "demo", tmp_path / "demo")  # the config names its network relative to the clone

    report = run("vis", PAIR, COLOURS, "--json", "--target-image", ESPRESSO).report

    assert report["target"]["embedding"] == "scores, 3 numbers"


def test_a_regression_shows_numbers_and_no_probabilities(run: Run, tmp_path: Path) -> None:
    one, two = _light(tmp_path), _light(tmp_path, outputs=2)

    report = run("vis", CAT, one, "--json", "--target", "raw").report
    table = run("vis", CAT, two, "--target", "raw", "--target-category", "1").stdout

    assert report["probabilities"] == "value"
    assert report["targets"][0]["value"] == pytest.approx(report["target"]["values"][0], abs=1e-6)
    assert report["target"]["explains"] == ["output 0"]
    assert "Explained: output 1, " in table
    assert "%" not in table


def test_a_network_with_one_output_decides_between_two_classes(run: Run, tmp_path: Path) -> None:
    config = _light(tmp_path)

    positive = run("vis", CAT, config, "--json", "--target", "binary").report
    negative = run("vis", CAT, config, "--json", "--target", "binary", "--target-category", "0").report

    assert positive["predicted"]["index"] == 1
    assert positive["targets"][0]["index"] == 1
    assert sum(one["probability"] for one in positive["top5"]) == pytest.approx(1)
    assert negative["target"]["values"] == [-positive["target"]["values"][0]]
    assert negative["status"]["gradcam"][0].startswith("no positive evidence")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", "probabilty"], "Unknown target 'probabilty'; closest: 'probability'"),
        (["--target", "contrast"], "The target 'contrast' needs against (--against CLASS)"),
        (["--against", "282"], "(--against CLASS) belongs to the target 'contrast'"),
        (["--target", "contrast", "--against", "expresso"], "No class 'expresso'; closest: 'espresso'"),
        (["--target", "contrast", "--against", "282", "--target-category", "282"], "two classes to contrast, got class 282 twice"),
        (["--target", "binary"], "needs a network with one output"),
        (["--target", "raw"], "gives 1000 numbers; name one or more by categories (--target-category)"),
        (["--target-image", "nowhere.jpg"], "nowhere.jpg"),
        (["--target-image", CAT], "the reference's own: nothing can raise the similarity"),
        (
            ["--target-image", ESPRESSO, "--target-category", "282"],
            "the similarity to an image, or categories (--target-category), not both",
        ),
        (["--target-image", ESPRESSO, "--target", "finer"], "or target (--target), not both"),
        (["--target-image", ESPRESSO, "--top-k", "2"], "or top_k (--top-k), not both"),
    ],
)
def test_targets_that_cannot_be_are_one_readable_error(run: Run, tmp_path: Path, options: list[str], said: str) -> None:
    finished = run("vis", CAT, LITE0, *options)

    assert finished.exit_code == 2, finished.stderr
    assert said in finished.stderr
    assert finished.stderr.startswith("Error: ")
    assert finished.stderr.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("dict(type='FinerScore', gamma=1)", "'finer' has no setting 'gamma'"),
        ("dict(alpha=1)", "a dict with 'type'"),
        ("['finer']", "'cam.target' of config"),
    ],
)
def test_a_recipes_target_is_checked_before_the_network_is_built(run: Run, tmp_path: Path, target: str, said: str) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text(f"model = dict(type='NoSuchNetwork')\ncam = dict(target={target})\n")

    finished = run("vis", CAT, recipe)

    assert finished.exit_code == 2
    assert said in finished.stderr
