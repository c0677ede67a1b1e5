"""The house: imports point downwards, and each library has its room."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "camtool"

FLOORS = [
    {"errors", "files", "functional", "registry", "types"},
    {"attention", "capture", "chunks", "embedding", "factorization", "full_gradients", "fusion", "guided", "heads", "inputs", "layers"}
    | {"layouts", "products", "replay", "rescale", "self_attention", "speed", "targets"},
    {"methods"},
    {"smoothing", "result", "probe", "attended", "call", "concepts", "engine", "evidence", "further", "input_gradients"}
    | {"inquiry", "setting"},
    {"data", "models", "train", "visualization"},
    {"sweep"},
    {"benchmark"},
    {"cli"},
]
ROOMS_OF = {
    "sklearn": {"data", "factorization"},
    "typer": {"cli"},
    "rich": {"cli"},
    "mmpretrain": {"data", "models"},
    "timm": {"models"},
    "torchvision": {"data", "models"},
    "transformers": {"models"},
    "huggingface_hub": {"models"},
    "safetensors": {"models"},
    "pytorch_grad_cam": {"benchmark"},
    "torchcam": {"benchmark"},
    "mmengine": {"cli", "data", "models", "registry", "train"},
    "cv2": {"models", "visualization"},
    "PIL": {"data", "models", "visualization", "cli"},
    "numpy": {"data", "models", "train", "visualization", "cli", "factorization"},
    "matplotlib": {"visualization"},
    "yaml": {"train"},
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported(path: Path) -> set[tuple[str, ...]]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            base = (node.module or "").split(".")
            modules |= {(*base, alias.name) for alias in node.names}
    return modules


def _floor(room: str) -> int:
    (floor,) = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    return floor


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    for module in _imported(path):
        if module[0] == "camtool" and module[1] not in ("CAM", "__version__"):
            assert _floor(module[1]) <= _floor(_room(path)), f"{_room(path)} imports {module[1]}, which lies above"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_library_is_imported_in_its_room_only(path: Path) -> None:
    for module in _imported(path):
        assert _room(path) in ROOMS_OF.get(module[0], {_room(path)}), f"{_room(path)} imports {module[0]}"


def test_rooms_stay_small() -> None:
    long = {path.name: lines for path in FILES if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 300}
    assert not long, "a file with more than one concept?"
