"""Resolve the address of a weights file (path, URL, `package://`, `hf-hub://`) to a local file, downloading it if needed."""

import hashlib
import http.client
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch

from camtool.errors import CheckpointError, closest
from camtool.io.packages import PACKAGE, find_package_file, package_file
from camtool.models.connection import unreachable

HUB = "hf-hub://"
"""Scheme of a repository on the Hugging Face hub: hf-hub://OWNER/NAME or hf-hub://OWNER/NAME/FILE."""

POINTER = "last_checkpoint"
"""Name of the text file in which mmengine writes the path of the newest checkpoint."""

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")


def locate(address: str) -> Path:
    """Return the local file of an address; downloads go into the cache of torch.hub or of the Hugging Face hub.

    A file in torch.hub's cache is that of a URL if its name has a hash, which its content has, too; else it is kept for this URL alone.

    Raises:
        CheckpointError: if there is no such file, or it cannot be downloaded.
    """
    if address.startswith(PACKAGE):
        return package_file(address, "Checkpoint", CheckpointError)
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
    return _of_pointer(path) if path.name == POINTER else path


def _of_pointer(path: Path) -> Path:
    """Return the file whose path a `last_checkpoint` has, or one of its name beside it, where the folder was moved."""
    try:
        named = path.read_bytes()[:_LONGEST_PATH].decode().strip()
    except (OSError, UnicodeDecodeError):
        return path  # weights by that name
    for file in (path.parent / named, path.parent / Path(named).name):
        if named and os.path.isfile(file):
            return file
    raise CheckpointError(
        f"Checkpoint '{path}' names the file '{named[:200]}', which is not there; expected it, or give another CHECKPOINT."
    )


_LONGEST_PATH = 4096


def find_local(address: str) -> Path | None:
    """Return the file of an address if it is on this machine already, else None; nothing is downloaded."""
    if address.startswith(PACKAGE):
        path = find_package_file(address)
    elif address.startswith(HUB):
        path = _cached_of_hub(address)
    elif urlparse(address).scheme in ("http", "https"):
        path = _downloaded(address, verify=False)
    else:
        path = Path(os.path.expanduser(address))
    return path if path is not None and os.path.isfile(path) else None


def _on_hub(address: str) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repository, files = _hub_files(address)
    cut_off = "" if constants.HF_HUB_OFFLINE else unreachable(constants.ENDPOINT)
    for file in files:
        try:
            return Path(hf_hub_download(repository, file, local_files_only=bool(cut_off)))
        except Exception as error:  # no connection, no such repository, no permission: each has an exception of its own
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue
            raise CheckpointError(_unreachable(address, cut_off or " ".join(str(error).split())[:200])) from error
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


_NAMED_HASH = re.compile(r"-([0-9a-f]{8,})\.")  # torch.hub's convention: NAME-<the first digits of its sha256>.pth


def _download_paths(url: str) -> tuple[Path, Path, str]:
    """Return (file in torch.hub's cache, where others look for that name, too; file for this address alone; hash in the name or "")."""
    name = Path(urlparse(url).path).name or "checkpoint.pth"
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    named = _NAMED_HASH.search(name)
    return folder / name, folder / hashlib.sha256(url.encode()).hexdigest()[:16] / name, named[1] if named else ""


def _downloaded(url: str, *, verify: bool) -> Path | None:
    """Return the file that was downloaded from an address; None if there is none. One that has only its name is another's.

    Args:
        verify: read the whole file where its name has a hash.
    """
    shared, own, digest = _download_paths(url)
    if digest and shared.is_file() and (not verify or _sha256(shared).startswith(digest)):
        return shared
    return own if own.is_file() else None


def _download(url: str) -> Path:
    path = _downloaded(url, verify=True)
    if path is not None:
        return path
    if cut_off := unreachable(url):
        raise CheckpointError(_unreachable(url, cut_off))
    shared, own, digest = _download_paths(url)
    try:
        shared.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shared.parent) as folder:
            arrived = Path(folder) / own.name
            torch.hub.download_url_to_file(url, str(arrived), progress=False)
            if refused := _no_weights(arrived):  # before it is kept
                raise CheckpointError(_unreachable(url, refused))
            path = shared if digest and _sha256(arrived).startswith(digest) else own
            path.parent.mkdir(exist_ok=True)
            os.replace(arrived, path)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(_unreachable(url, reason)) from error
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _no_weights(path: Path) -> str:
    """Return why what a server sent cannot be weights, as a page that asks to log in; "" if it can."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
        length = int.from_bytes(head[:8], "little")
        if head[8:9] == b"{" and length <= _LONGEST_HEADER:  # safetensors
            file.seek(8)
            return "" if _safetensors_size(file.read(length)) == size - 8 - length else "the file that arrived is not whole"
    if head.startswith(b"PK\x03\x04"):  # torch.save's zip, whose table of contents stands at its end
        return "" if zipfile.is_zipfile(path) else "the file that arrived is not whole"
    if head.startswith(b"\x80") or head[257:262] == b"ustar":  # torch.save's older formats
        return ""
    return "a web page arrived, perhaps one to log in" if head.lstrip()[:1] == b"<" else "what arrived is no file of weights"


_LONGEST_HEADER = 100_000_000  # of safetensors, by its specification


def _safetensors_size(header: bytes) -> int | None:
    """Return the number of bytes that the tensors of a safetensors header take; None if it is not one."""
    try:
        return max((entry["data_offsets"][1] for name, entry in json.loads(header).items() if name != "__metadata__"), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
