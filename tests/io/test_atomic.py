"""Files are written whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from camtool.errors import OutputError
from camtool.io.atomic import check_writable, whole_folder, write_atomically


def test_content_and_missing_folders_are_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "Ordner mit ä" / "map 猫.jpg"
    write_atomically(path, b"\x00\xff\r\n")
    assert path.read_bytes() == b"\x00\xff\r\n"
    assert list(path.parent.iterdir()) == [path]


def test_an_older_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "map.png").write_bytes(b"a longer, older content")
    write_atomically(tmp_path / "map.png", b"new")
    assert (tmp_path / "map.png").read_bytes() == b"new"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "map.png", b"1")
        assert os.umask(umask) == umask  # and the umask is what it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "map.png").stat().st_mode) == mode


@pytest.mark.parametrize("call", ["replace", "chmod", "fdopen"])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full disk", "interrupt"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, failure: BaseException
) -> None:
    path = tmp_path / "map.png"
    path.write_bytes(b"old")

    def fail(*arguments: object, **keywords: object) -> None:
        raise failure

    monkeypatch.setattr(os, call, fail)
    if isinstance(failure, OSError):
        with pytest.raises(OutputError, match=r"Cannot write '.*map\.png': No space left on device\. Choose another path"):
            write_atomically(path, b"new")
    else:
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_reader_ever_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, content = tmp_path / "map.png", b"x" * 100_000
    replace, seen = os.replace, []

    def watched(source: str, target: Path) -> None:
        seen.append((path.exists(), Path(source).read_bytes() == content, Path(source).parent == path.parent))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    write_atomically(path, content)
    assert seen == [(False, True, True)]


@pytest.mark.parametrize("act", [check_writable, lambda path: write_atomically(path, b"1")], ids=["check_writable", "write_atomically"])
def test_a_path_below_a_file_is_refused(tmp_path: Path, act: object) -> None:
    (tmp_path / "file.txt").write_text("kept")
    for path in (tmp_path / "file.txt" / "map.png", tmp_path / "file.txt" / "deep" / "er" / "map.png"):
        with pytest.raises(OutputError, match=r"Cannot write '.*map\.png': .*Choose another path"):
            act(path)  # type: ignore[operator]
    assert (tmp_path / "file.txt").read_text() == "kept"


def test_the_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file.txt").touch()
    with pytest.raises(OutputError, match=r"'.*file\.txt' is a file, not a directory"):
        check_writable(tmp_path / "file.txt" / "deep" / "map.png")


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 300}.png"
    for write in (check_writable, lambda path: write_atomically(path, b"1")):
        for too_long in (path, path / "map.png"):
            with pytest.raises(OutputError, match="Cannot write"):
                write(too_long)
    assert not list(tmp_path.iterdir())


def test_a_directory_is_no_file_name(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="it is a directory; expected the path of a file"):
        check_writable(tmp_path)


def test_a_folder_without_permission_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(OutputError, match=f"no permission to write in '{tmp_path}'"):
        check_writable(tmp_path / "new" / "map.png")


def test_checking_makes_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "map.png")
    check_writable(Path("map.png"))
    assert not list(tmp_path.iterdir())


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "data"
    with whole_folder(path) as folder:
        (folder / "a.txt").write_text("a")
        assert not path.exists()
    assert [found.name for found in path.iterdir()] == ["a.txt"]
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o777 & ~umask()


@pytest.mark.parametrize(
    ("failure", "raised"),
    [(OSError(28, "No space left on device"), OutputError), (KeyboardInterrupt(), KeyboardInterrupt), (OutputError("other"), OutputError)],
)
def test_a_folder_that_is_not_finished_leaves_nothing(tmp_path: Path, failure: BaseException, raised: type[BaseException]) -> None:
    def fill() -> None:
        with whole_folder(tmp_path / "data") as folder:
            (folder / "a.txt").write_text("a")
            raise failure

    with pytest.raises(raised):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_not_written_into(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already; expected the path of a new folder"), whole_folder(tmp_path):
        pytest.fail("nothing is to be done")


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
