"""Wrong command lines end with a line and exit code 2, with --json with an object, and leave their inputs as they are."""

import shlex
from pathlib import Path

import pytest

from tests import fuzz_command_line as fuzz
from tests.cli.fixtures import Run


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, with the pictures that the command lines name; nothing is asked of a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("DISPLAY", raising=False)
    fuzz.make_pictures(tmp_path)
    return tmp_path


def test_wrong_command_lines_end_as_errors_do(pictures: Path) -> None:
    found = {tuple(words): complaints for words in fuzz.wrong_lines(150) if (complaints := fuzz.complaints(words))}

    assert not found


@pytest.mark.parametrize("line", fuzz.RIGHT)
def test_the_lines_that_are_mutated_work(run: Run, pictures: Path, line: str) -> None:
    finished = run(*shlex.split(line))

    assert finished.exit_code == 0, finished.stderr


def test_the_lines_are_the_same_for_a_seed_and_others_for_another() -> None:
    assert list(fuzz.wrong_lines(20, 1)) == list(fuzz.wrong_lines(20, 1)) != list(fuzz.wrong_lines(20, 2))


def test_a_defect_and_a_changed_input_are_found(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        (pictures / "a.png").write_bytes(b"")
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("camtool.models.catalog.catalog", broken)

    code, changed = fuzz.complaints(["models", "--json"])
    assert code.startswith("exit code 1")
    assert changed == "an input was changed"
