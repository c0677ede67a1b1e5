"""What was typed and cannot have the effect that was meant is said."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from typer.models import ArgumentInfo, OptionInfo

from camtool.cli.main import ANALYSES, COMMANDS
from camtool.config.loading import is_config, load_config
from camtool.config.overrides import parse_options
from camtool.instrumentation.convolutional import is_convolutional_network
from tests.cli.fixtures import CAT, LAST, LITE0, Run


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--depth", "3"], "--depth and --filter have no effect without --preview-model"),
        (["--filter", "bn"], "--depth and --filter have no effect without --preview-model"),
        (["--fuse", "product"], "--fuse product has no effect: there is one target layer"),
        (["--fuse", "product", "--target-layers", LAST], "there is one target layer"),
    ],
)
def test_an_option_without_effect_is_named(run: Run, options: list[str], said: str) -> None:
    assert any(said in warning for warning in run("vis", CAT, LITE0, *options, "--json").report["warnings"])


def test_an_option_that_another_one_took_as_its_value_is_named(run: Run) -> None:
    finished = run("models", "--filter", "--json=-x")
    assert finished.exit_code == 2
    assert "Option '--filter' requires a value, got the option '--json=-x'" in finished.stderr


def test_an_option_given_twice_is_named(run: Run) -> None:
    assert "Warning: --filter was given 2 times" in run("models", "--filter", "lite0", "--filter=lite").stderr
    assert "Warning" not in run("models", "--filter", "lite0").stderr


@pytest.mark.parametrize("typed", [["--target-category", "281", CAT, LITE0], ["--method", "gradcam", CAT, LITE0]])
def test_a_picture_that_an_option_took_is_named(run: Run, typed: list[str]) -> None:
    finished = run("vis", *typed)

    assert finished.exit_code == 2
    assert f"'{CAT}' was read as a value of {typed[0]}" in finished.stderr


@pytest.mark.parametrize(
    ("typed", "option"),
    [
        ("browse --image a.jpg timm/resnet18", "--image"),
        ("browse --method gradcam timm/resnet18 --index 0", "--method"),
        ("run --data x --out y --target-category red timm/resnet18", "--target-category"),
        ("layers --cfg-options a=1 timm/resnet18", "--cfg-options"),
        ("train --cfg-options a=1 timm/resnet18", "--cfg-options"),
    ],
)
def test_a_config_that_an_option_took_is_named(run: Run, typed: str, option: str) -> None:
    finished = run(*typed.split())

    assert finished.exit_code == 2
    assert f"'timm/resnet18' was read as a value of {option}: put CONFIG before it, or -- behind its values" in finished.stderr


def test_a_picture_that_was_meant_for_an_option_is_not_called_the_missing_config(run: Run) -> None:
    assert "was read as" not in run("browse", "--image", CAT).stderr


def _options_of_paths() -> list[tuple[str, str]]:
    """Every option whose value is a path, by the annotation of the command's parameter, behind the words of its command."""
    found = [("vis", "--save-path"), ("train", "--work-dir")]  # annotated as text
    for words, function in {**COMMANDS, **{f"analyze {name}": function for name, function in ANALYSES.items()}}.items():
        for hint in get_type_hints(function, include_extras=True).values():
            declared = next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, OptionInfo)), None)
            if declared is not None and "Path" in str(hint.__origin__):
                found.append((words, next(name for name in (declared.default, *declared.param_decls) if str(name).startswith("--"))))
    return found


@pytest.mark.parametrize("value", ["", " "])
@pytest.mark.parametrize(("command", "option"), _options_of_paths())
def test_an_empty_path_is_not_the_current_folder(run: Run, command: str, option: str, value: str) -> None:
    finished = run(*command.split(), "timm/resnet18", option, value)

    assert finished.exit_code == 2
    assert f"requires a path, got {value!r}" in finished.stderr


def _annotations(kind: type[OptionInfo] | type[ArgumentInfo]) -> Iterator[tuple[str, str, Any]]:
    """Every option or positional: the words of its command, its name, and what declares it."""
    for words, function in {**COMMANDS, **{f"analyze {name}": function for name, function in ANALYSES.items()}}.items():
        for name, hint in get_type_hints(function, include_extras=True).items():
            declared = next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, kind)), None)
            if declared is not None and "list" not in str(hint.__origin__):
                yield words, name, declared


def _positionals() -> list[tuple[str, list[str]]]:
    """Every command with positionals of one value each, and their names."""
    found: dict[str, list[str]] = {}
    for words, name, declared in _annotations(ArgumentInfo):
        found.setdefault(words, []).append(declared.metavar or name.upper())
    return list(found.items())


@pytest.mark.parametrize("value", ["", " "])
@pytest.mark.parametrize(("command", "names"), _positionals())
def test_an_empty_positional_is_a_variable_that_was_not_set(run: Run, command: str, names: list[str], value: str) -> None:
    for place, name in enumerate(names):
        finished = run(*command.split(), *["timm/resnet18"] * place, value)

        assert finished.exit_code == 2
        assert f"Argument '{name}' requires a" in finished.stderr
        assert f"got {value!r}" in finished.stderr


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (words, declared.default if str(declared.default).startswith("--") else declared.param_decls[0])
        for words, _, declared in _annotations(OptionInfo)
        if str(declared.metavar).startswith(("CONFIG", "DATA", "CONDITION"))
    ],
)
def test_an_empty_data_set_config_or_condition_is_not_one_that_was_left_out(run: Run, command: str, option: str) -> None:
    finished = run(*command.split(), "timm/resnet18", option, "")

    assert finished.exit_code == 2
    assert f"Option '{option}' requires a" in finished.stderr


@pytest.mark.parametrize(("typed", "got"), [(["5"], "'5'"), ([], "none"), (["5", "--seed", "1"], "'5'")])
def test_an_option_of_two_values_with_fewer_says_how_many_it_requires(run: Run, typed: list[str], got: str) -> None:
    finished = run("vis", CAT, LITE0, "--json", "--value-range", *typed)

    assert f"Option '--value-range' requires 2 values, got {got}." in json.loads(finished.stdout)["error"]


def test_the_values_of_an_option_of_two_are_repeated(run: Run) -> None:
    assert "Got '5 x'." in run("vis", CAT, LITE0, "--value-range", "5", "x").stderr


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("https://example.org/cat.jpg", "is an address; expected a file"),
        ("s.jpg,t.jpg", "several pictures are separated by blanks: s.jpg t.jpg"),
    ],
)
def test_pictures_named_in_another_way_say_what_to_do(run: Run, image: str, said: str) -> None:
    finished = run("vis", image, LITE0, "--json")

    assert finished.exit_code == 2
    assert said in json.loads(finished.stdout)["error"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("['red fox']", ["red fox"]),
        ("['red fox', \"it's a cat\"]", ["red fox", "it's a cat"]),
        ("['fox, red', 'cat (small)']", ["fox, red", "cat (small)"]),
        ("[red fox, cat]", ["red fox", "cat"]),
        ("red fox", "red fox"),
        ("[(1, 2), [x, 3.5]]", [(1, 2), ["x", 3.5]]),
        ("1, 2", [1, 2]),
        ("( 2 , 3 )", (2, 3)),
    ],
)
def test_overrides_keep_the_blanks_in_words(typed: str, meant: object) -> None:
    assert parse_options([f"model.classes={typed}"]) == {"model.classes": meant}


def test_a_folder_that_transformers_saved_is_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("hf/vit", "other/vit"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text("{}")

    named = {"./hf/vit": "./hf/vit", "hf/vit": "hf/vit", "other/vit": "other/vit", str(tmp_path / "hf/vit"): str(tmp_path / "hf/vit")}
    for typed, name in named.items():
        assert is_config(typed)
        assert load_config(typed).config.model.to_dict() == {"type": "camtool.HuggingFaceModel", "name": name}
    assert load_config("hf/other/vit").config.model.name == "other/vit"
    assert load_config("hf/google/vit").config.model.name == "google/vit"  # on the hub


def test_tokens_of_a_cnn_are_named_as_what_is_wrong(run: Run) -> None:
    finished = run("vis", CAT, LITE0, "--vit-like")
    assert finished.exit_code == 2
    assert "is a CNN: its layers are maps already. Leave --vit-like out." in finished.stderr


@pytest.mark.parametrize(
    ("name", "is_cnn"),
    [("resnet18", True), ("test_vit", False), ("mixer_s32_224", False), ("levit_128s", False)],
)
def test_networks_of_tokens_are_not_taken_for_cnns(name: str, is_cnn: bool) -> None:
    timm = pytest.importorskip("timm")
    if name not in timm.list_models():
        pytest.skip("not in this release")
    assert is_convolutional_network(timm.create_model(name)) == is_cnn
