"""TorchScript archives: their weights by name, without running or compiling their code."""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from camtool.errors import CheckpointError

_LONGEST_PICKLE = 256 * 2**20


def is_torchscript(path: Path) -> bool:
    """Return whether a file is an archive that `torch.jit.save` wrote."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    return {"constants.pkl", "data.pkl"} <= names


def read_torchscript(path: Path, address: str) -> dict[str, Tensor]:
    """Return the parameters and buffers of a TorchScript archive by name; its code is neither compiled nor run.

    Raises:
        CheckpointError: if it is damaged, has no weights by name (as a frozen one), or names what no module's state needs.
    """
    try:
        reader = torch._C.PyTorchFileReader(str(path))
        with zipfile.ZipFile(path) as archive:
            (info,) = [info for info in archive.infolist() if info.filename.partition("/")[2] == "data.pkl"]
            if info.file_size > _LONGEST_PICKLE:
                raise ValueError(f"its description of the modules has {info.file_size} bytes")
            with archive.open(info) as file:
                root = _Unpickler(file, reader).load()
        state = dict(_tensors(root, set()))
    except Exception as error:  # exceptions of pickle, of zip files and of torch
        raise CheckpointError(
            f"Checkpoint '{address}' is a TorchScript file whose weights cannot be read ({type(error).__name__}: {str(error)[:200]}). "
            "Load it by torch.jit.load and save its state_dict()."
        ) from error
    if not state:
        raise CheckpointError(
            f"Checkpoint '{address}' is a TorchScript file without weights by name; a frozen one has them as constants in its code. "
            "Expected one that is not frozen, or a state_dict."
        )
    return state


class _Module:
    """Stands for a module of the archive: its attributes, no methods."""

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


class _Ignored:
    """Stands for what is no tensor and no module."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    """Reads the tree of modules; no global of the file is looked up, each is replaced by a name known here."""

    def __init__(self, file: Any, reader: Any) -> None:
        super().__init__(file)
        self._reader = reader
        self._storages: dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "__torch__":
            return _Module
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch.jit._pickle":
            return _Ignored
        raise pickle.UnpicklingError(f"'{module}.{name}' is no part of a module's state")

    def persistent_load(self, saved: Any) -> Any:
        kind, dtype, key, _, count = saved
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("a storage of an unknown kind")
        if key not in self._storages:
            # As bytes: a storage made by the number of elements that the file claims would reach beyond its record.
            record = self._reader.get_record(f"data/{key}") if count else b""
            values = torch.frombuffer(bytearray(record), dtype=torch.uint8) if record else torch.empty(0, dtype=torch.uint8)
            self._storages[key] = values.untyped_storage()
        return self._storages[key], dtype


def _rebuilt(storage: Any, offset: int, shape: Any, stride: Any, *_: Any) -> Tensor:
    untyped, dtype = storage
    values = torch.empty(0, dtype=dtype)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if all(shape) else -1
    if min((offset, *shape, *stride)) < 0 or (last + 1) * values.element_size() > untyped.nbytes():  # torch would enlarge the storage
        raise ValueError("a tensor out of bounds of its storage")
    return values.set_(untyped, offset, tuple(shape), tuple(stride))


def _parameter(tensor: Tensor, *_: Any) -> Tensor:
    return tensor


_KNOWN = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "OrderedDict"): OrderedDict,
}
_DTYPES = {
    f"{name}Storage": dtype
    for name, dtype in {
        "Float": torch.float32,
        "Double": torch.float64,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
        "ComplexFloat": torch.complex64,
        "ComplexDouble": torch.complex128,
    }.items()
}


def _tensors(value: Any, seen: set[int], path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield (dotted name, tensor) of a module's attributes and those of the modules in it, each module once."""
    if not isinstance(value, _Module) or id(value) in seen:
        return
    seen.add(id(value))
    for name, attribute in getattr(value, "attributes", {}).items():
        inner = f"{path}.{name}" if path else str(name)
        if isinstance(attribute, Tensor):
            yield inner, attribute
        else:
            yield from _tensors(attribute, seen, inner)
