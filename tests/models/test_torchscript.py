"""TorchScript files: the weights, and nothing of the code."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from camtool.errors import CamtoolWarning, CheckpointError
from camtool.models.checkpoints import best_fit, load_into, read_checkpoint
from camtool.models.filling import KeyCounts

OF_JIT = "ignore:.*torch.jit:DeprecationWarning"  # torch announces its end; files remain


class Small(nn.Module):
    """A network with parts, a batch norm and a layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)
        self.same = self.head
        self.register_buffer("scale", torch.rand(2, dtype=torch.float64))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(picture).mean((2, 3))) * self.scale


def archive(folder: Path, save: Callable[[nn.Module], Any]) -> tuple[nn.Module, str]:
    model = Small().eval()
    save(model).save(str(folder / "scripted.pt"))
    return model, str(folder / "scripted.pt")


@pytest.mark.filterwarnings(OF_JIT)
@pytest.mark.parametrize("save", [torch.jit.script, lambda model: torch.jit.trace(model, torch.rand(1, 3, 8, 8))], ids=["script", "trace"])
def test_the_weights_are_taken_and_the_file_is_called_what_it_is(save: Callable[[nn.Module], Any], tmp_path: Path) -> None:
    theirs, path = archive(tmp_path, save)
    with pytest.warns(CamtoolWarning, match=r"scripted\.pt' is a TorchScript file: its weights are taken, its code is not run"):
        read = read_checkpoint(path)
    model = Small()
    assert load_into(model, best_fit(model.state_dict(), read.state), path) == KeyCounts(12, 0, 0)
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.filterwarnings(OF_JIT)
def test_a_frozen_file_is_refused_by_name(tmp_path: Path) -> None:
    _, path = archive(tmp_path, lambda model: torch.jit.freeze(torch.jit.script(model)))
    with pytest.raises(CheckpointError, match="is a TorchScript file without weights by name; a frozen one"):
        read_checkpoint(path)


class Reduced:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> Any:
        return self.called


def forged(folder: Path, description: bytes) -> str:
    with zipfile.ZipFile(folder / "forged.pt", "w") as file:
        for name, content in (("data.pkl", description), ("constants.pkl", pickle.dumps(())), ("version", b"3\n"), ("data/0", bytes(8))):
            file.writestr(f"forged/{name}", content)
    return str(folder / "forged.pt")


def test_a_file_that_would_run_code_does_not(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = forged(tmp_path, pickle.dumps(Reduced(exec, f"open({str(mark)!r}, 'w')"), protocol=2))
    with pytest.raises(CheckpointError, match=r"TorchScript file whose weights cannot be read .*exec' is no part of a module's state"):
        read_checkpoint(path)
    assert not mark.exists()


class Claiming(pickle.Pickler):
    """Writes a storage of eight bytes of which it claims more."""

    def persistent_id(self, value: Any) -> Any:
        return ("storage", torch.FloatStorage, "0", "cpu", 1000) if value is ... else None


@pytest.mark.parametrize(("offset", "shape", "stride"), [(0, (1000,), (1,)), (2, (1,), (1,)), (0, (2, 2), (1, 1)), (1, (2,), (-1,))])
def test_a_tensor_that_reaches_beyond_its_bytes_is_refused(
    tmp_path: Path, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    claim = tmp_path / "claim.pkl"
    with claim.open("wb") as file:
        Claiming(file, protocol=2).dump(Reduced(torch._utils._rebuild_tensor_v2, ..., offset, shape, stride, False, {}))
    with pytest.raises(CheckpointError, match=r"TorchScript file whose weights cannot be read .*out of bounds"):
        read_checkpoint(forged(tmp_path, claim.read_bytes()))
