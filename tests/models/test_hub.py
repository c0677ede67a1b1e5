"""Addresses of weights on the Hugging Face hub; other addresses are tested with the checkpoints that they lead to."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from camtool.errors import CheckpointError
from camtool.models.hub import locate


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A hub: file by `repository/name`, or the exception to raise."""
    files: dict[str, Any] = {}

    def download(repository: str, name: str) -> str:
        found = files.get(f"{repository}/{name}", EntryNotFoundError("404"))
        if isinstance(found, Exception):
            raise found
        return str(found)

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
