"""`package://NAME/path`: by the name that is imported, or by the name that was installed."""

import sys
from pathlib import Path

import pytest

from camtool.errors import CamtoolError, CheckpointError, ImageError
from camtool.io.packages import find_package_file, package_file


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two distributions: one with a package, one that keeps its files beside its package."""
    for file, text in {
        "plain/__init__.py": "raise RuntimeError('imported')",
        "plain/a.txt": "",
        "odd/__init__.py": "",
        "shared/files/a.txt": "",
        "shared/files/not_listed.txt": "",
        "odd_name-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: odd-name\nVersion: 1.0\n",
        "odd_name-1.0.dist-info/RECORD": "odd/__init__.py,,\nshared/files/a.txt,,\nshared/files/gone.txt,,\n",
    }.items():
        (tmp_path / "site" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / file).write_text(text)
    (tmp_path / "secret.txt").touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])
    return tmp_path / "site"


def test_a_file_in_the_folder_of_a_package_which_is_not_imported(installed: Path) -> None:
    assert package_file("package://plain/a.txt") == installed / "plain/a.txt"
    assert "plain" not in sys.modules


def test_a_file_that_a_distribution_lists(installed: Path) -> None:
    assert package_file("package://odd-name/shared/files/a.txt") == installed / "shared/files/a.txt"


@pytest.mark.parametrize("path", ["shared/files/not_listed.txt", "shared/files/gone.txt", "../secret.txt", ""])
def test_what_a_distribution_does_not_list_or_have_is_not_reached(installed: Path, path: str) -> None:
    assert find_package_file(f"package://odd-name/{path}") is None
    with pytest.raises(ImageError, match="the package 'odd-name' has no file"):
        package_file(f"package://odd-name/{path}")


@pytest.mark.parametrize(
    ("what", "error", "hint"), [("File", ImageError, "or give a file"), ("Checkpoint", CheckpointError, "or give a CHECKPOINT")]
)
def test_what_is_not_installed_says_how_to_get_it(what: str, error: type[CamtoolError], hint: str) -> None:
    with pytest.raises(
        error, match=f"{what} 'package://no_such/a.txt': the package 'no_such' is not installed; 'pip install no-such', {hint}"
    ):
        package_file("package://no_such/a.txt", what, error)


@pytest.mark.parametrize("address", ["package://", "package:///a.txt", "package://./a.txt", "package://a b/c"])
def test_half_an_address_is_no_file(address: str) -> None:
    assert find_package_file(address) is None
