"""Streams that are closed or full, too little memory, libraries that do not load, command lines that cannot be parsed: one line each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from camtool import __version__
from camtool.cli import failures
from camtool.errors import CamtoolError, as_camtool_error
from tests.cli.fixtures import CAT, LITE0, ROOT, Run

COMMAND = f'"{sys.executable}" -m camtool'


def _shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell in which CAMTOOL stands for the command."""
    paths = os.pathsep.join(filter(None, (environment.pop("PYTHONPATH", ""), str(ROOT))))
    return subprocess.run(
        ["bash", "-c", line.replace("CAMTOOL", COMMAND)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _is_one_line(text: str, *said: str) -> None:
    assert text.startswith("Error: ")
    assert text.count("\n") == 1
    for words in said:
        assert words in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", ["models --filter lite0", "models --filter lite0 --json", "--help", "--version", "methods"])
def test_results_that_cannot_be_written_are_an_error(tmp_path: Path, arguments: str) -> None:
    finished = _shell(f"CAMTOOL {arguments} > /dev/full", tmp_path)

    assert finished.returncode == 2
    _is_one_line(finished.stderr, "Cannot write to standard output: No space left on device")


@pytest.mark.parametrize("arguments", ["models --filter lite0", "--help"])
def test_standard_output_that_is_closed_is_an_error(tmp_path: Path, arguments: str) -> None:
    finished = _shell(f"CAMTOOL {arguments} >&-", tmp_path)

    assert finished.returncode == 2
    _is_one_line(finished.stderr, "Standard output is closed")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "0>&-"])
def test_remarks_that_nobody_can_read_do_not_spoil_the_results(tmp_path: Path, redirection: str) -> None:
    finished = _shell(f"CAMTOOL models --filter lite0 --json {redirection}", tmp_path)
    refused = _shell(f"CAMTOOL models --filter nothing-has-this {redirection}", tmp_path)
    misspelt = _shell(f"CAMTOOL models --source nowhere --json {redirection}", tmp_path)

    assert finished.returncode == 0
    assert json.loads(finished.stdout)["models"][0]["name"] == "efficientnet-lite0_in1k"
    assert (refused.returncode, refused.stdout) == (2, "")
    assert misspelt.returncode == 2
    assert "nowhere" in json.loads(misspelt.stdout)["error"]


@pytest.mark.parametrize("arguments", ["models", "models --json", "methods"])
def test_a_reader_that_has_gone_ends_the_command_without_a_word(tmp_path: Path, arguments: str) -> None:
    finished = _shell(f"CAMTOOL {arguments} 2>errors | true; echo ${{PIPESTATUS[0]}}", tmp_path)

    assert finished.stdout in ("0\n", "1\n")  # 0: all was in the pipe before its reader went
    assert "Error" not in (tmp_path / "errors").read_text()
    assert "Traceback" not in (tmp_path / "errors").read_text()


def test_too_little_memory_is_said_in_one_line(tmp_path: Path) -> None:
    finished = _shell(f"ulimit -v 600000; CAMTOOL vis '{CAT}' '{LITE0}' --json", tmp_path)

    assert finished.returncode == 2
    _is_one_line(finished.stderr, "Not enough memory")
    assert "Not enough memory" in json.loads(finished.stdout)["error"]


@pytest.mark.parametrize("where", ["build", "forward", "read"])
def test_too_little_memory_is_said_wherever_it_ends(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    raising = "raise RuntimeError('[enforce fail] DefaultCPUAllocator: cannot allocate memory')"
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Conv2d):\n"
        f"    def __init__(self):\n        super().__init__(3, 4, 3)\n        {raising if where == 'build' else 'pass'}\n"
        f"    def forward(self, x):\n        {raising if where == 'forward' else 'return super().forward(x).mean((2, 3))'}\n"
    )
    (tmp_path / "own.py").write_text(
        "model = dict(type='camtool.TorchModel', factory='net.py:Net', preprocess=dict(crop=32, mean=0, std=1))\n"
    )
    (tmp_path / "weights.pth").write_bytes(b"any")

    def failing(*arguments: object, **options: object) -> None:
        raise RuntimeError("unable to mmap 49 bytes from file <weights.pth>: Cannot allocate memory (12)")

    monkeypatch.setattr("torch.load", failing)

    finished = run("vis", CAT, "own.py", *(["weights.pth"] if where == "read" else ["--random-weights"]), "--json")

    assert finished.exit_code == 2
    _is_one_line(finished.stderr, "Not enough memory")
    assert "damaged" not in finished.stderr


@pytest.mark.parametrize(
    ("library", "content"),
    [
        ("typer", "raise ImportError('libX.so.1: cannot open shared object file')"),
        ("mmengine", "raise ImportError('libX.so.1: cannot open shared object file')"),
        ("rich", "raise AttributeError('module libX.so.1 has no attribute')"),
    ],
)
def test_a_library_that_does_not_load_is_named(tmp_path: Path, library: str, content: str) -> None:
    (tmp_path / f"{library}.py").write_text(content)

    finished = _shell("CAMTOOL models --filter lite0", tmp_path, PYTHONPATH=str(tmp_path))

    assert finished.returncode == 2
    _is_one_line(finished.stderr, library, "libX.so.1")
    as_json = _shell("CAMTOOL models --filter lite0 --json", tmp_path, PYTHONPATH=str(tmp_path))
    assert set(json.loads(as_json.stdout)) == {"error"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "Not enough memory (MemoryError)"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), "Not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "Not enough memory"),
        (ModuleNotFoundError("No module named 'timm'", name="timm"), "Cannot import the library 'timm': No module named 'timm'"),
        (PermissionError(13, "Permission denied", "a.npz"), "Cannot use the file 'a.npz': Permission denied"),
        (ImportError("cannot import name 'x' from 'camtool.io'", name="camtool.io"), None),
        (ZeroDivisionError("planted"), None),
        (FileNotFoundError(2, "No such file", "out of memory.jpg"), "Cannot use the file 'out of memory.jpg': No such file"),
        (CamtoolError("No picture 'out of memory.jpg'"), None),
    ],
)
def test_what_the_surroundings_are_to_blame_for(error: Exception, said: str | None) -> None:
    described = failures.described(error)

    assert (described is None) if said is None else (described or "").startswith(said)


def test_the_cause_of_an_error_is_looked_at_too() -> None:
    error = RuntimeError("Failed to import transformers.models.vit")
    error.__cause__ = ModuleNotFoundError("No module named 'tokenizers'", name="tokenizers")

    assert "'tokenizers'" in (failures.described(error) or "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vis", "--seed", "abc"], "'abc'"),
        (["vis", "--seed=abc"], "'abc'"),
        (["vis", "--top_k", "many"], "'many'"),
        (["vis", "--opacity", "0,5"], "'0,5'"),
        (["vis", "--depth", "0"], "0"),
        (["vis", "--metod", "gradcam"], "--metod"),
        (["vis", "--original=yes"], "yes"),
        (["vis", "--method"], "--method"),
        (["vis", "--save-path", "--original"], "requires a value, got the option '--original'"),
        (["viss"], "viss"),
        (["--verson"], "--verson"),
        (["layers"], "config"),
        (["layers", "a", "b", "c.pth"], "c.pth"),
        (["benchmark", "--model", "vgg"], "vgg"),
        (["train", "a.py"], "--json"),
        (["vis", "a\nb\x1b[31m.jpg", "resnet18_8xb32_in1k"], r"'a\nb\x1b[31m.jpg'"),
    ],
)
def test_a_command_line_that_cannot_be_parsed_is_one_line_and_one_object(run: Run, arguments: list[str], said: str) -> None:
    refused, as_json = run(*arguments), run(*arguments, "--json")

    if arguments[0] != "train":
        assert (refused.exit_code, refused.stdout) == (2, "")
        _is_one_line(refused.stderr, said)
    assert as_json.exit_code == 2
    assert set(json.loads(as_json.stdout)) == {"error"}
    _is_one_line(as_json.stderr, said)
    assert json.loads(as_json.stdout)["error"] == as_json.stderr.removeprefix("Error: ").rstrip("\n")


def test_what_stands_behind_an_option_that_does_not_exist_is_not_called_its_value(run: Run) -> None:
    assert "Got" not in run("cache", "--nix", "--json").stderr


def test_control_c_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("camtool.models.catalog.catalog", interrupted)

    finished = run("models", "--json")

    assert finished.exit_code == 130
    assert json.loads(finished.stdout) == {"error": "Interrupted."}


def test_the_version_is_shown(run: Run, tmp_path: Path) -> None:
    assert run("--version").stdout == f"camtool {__version__}\n"
    assert _shell("CAMTOOL --version", tmp_path).stdout == f"camtool {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setenv("_CAMTOOL_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", "camtool vis --save")
    monkeypatch.setenv("COMP_CWORD", "2")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "camtool vis --save")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")

    finished = _shell("CAMTOOL", tmp_path)

    assert finished.returncode == 0
    assert "--save-path" in finished.stdout
    assert "--save-raw" in finished.stdout


def test_o_is_short_for_save_path(run: Run, tmp_path: Path) -> None:
    assert run("vis", CAT, LITE0, "-o", "x.png", "--json").report["outputs"] == ["x.png"]
    assert (tmp_path / "x.png").exists()


def test_a_sentence_of_the_network_ends_with_one_dot() -> None:
    error = ValueError("Sizes differ.")
    error.add_note("Raised by the network itself.")
    assert str(as_camtool_error(error)) == "ValueError: Sizes differ. Raised by the network itself."
