"""The house: imports point downwards, no files import each other in a circle, and each library has its room."""

import ast
import functools
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "camtool"

# From the ground up. Rooms of one floor do not import each other.
FLOORS = [
    {"errors", "types", "words"},
    {"axes", "functional", "registry"},
    {"placement"},
    {"config", "io", "fusion", "layouts", "targets"},
    {"datasets", "methods", "store", "visualization"},
    {"instrumentation", "models"},
    {"attribution", "concepts", "metrics", "train"},
    {"apis"},
    {"analysis", "runs"},
    {"benchmark", "compat", "evaluation"},
    {"cli"},
    {"__main__"},
]
ROOMS_OF = {
    "sklearn": {"analysis", "concepts", "datasets"},
    "scipy": {"analysis", "evaluation", "io", "models"},
    "pyarrow": {"store"},
    "duckdb": {"store"},
    "h5py": {"store"},
    "nibabel": {"io"},
    "pydicom": {"io"},
    "pyedflib": {"io"},
    "wfdb": {"io"},
    "ray": {"runs"},
    "typer": {"cli"},
    "rich": {"cli"},
    "mmpretrain": {"config", "datasets", "models"},
    "timm": {"models"},
    "torchvision": {"benchmark", "datasets", "models"},  # benchmark: its video networks, which no source names
    "transformers": {"models"},
    "huggingface_hub": {"models"},
    "safetensors": {"models"},
    "pytorch_grad_cam": {"benchmark"},
    "torchcam": {"benchmark"},
    "quantus": {"benchmark"},
    "mmengine": {"apis", "cli", "config", "datasets", "models", "registry", "train"},
    "cv2": {"io", "models", "visualization"},  # models: what mmpretrain's pipelines read files with
    "PIL": {"apis", "cli", "compat", "datasets", "io", "models", "visualization"},
    "numpy": {
        "analysis",
        "apis",
        "cli",
        "compat",
        "concepts",
        "datasets",
        "evaluation",
        "io",
        "metrics",
        "models",
        "runs",
        "store",
        "train",
        "visualization",
    },
    "matplotlib": {"visualization"},
    "yaml": {"config"},
}
MOST_ROOMS = 30
MOST_LINES = 300

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_of(path: Path, package: Path = PACKAGE) -> str:
    """Return "camtool.methods.build" for its file, "camtool.methods" for the folder's __init__.py."""
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Return the room of a module: "methods" of "camtool.methods.build"."""
    return module.split(".")[1]


def imported(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, or may import, at its top, inside functions and for type checking alike."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows(package: Path) -> dict[str, set[str]]:
    """Return by module of a package the others of it that it imports; names are those of the modules that define them."""
    modules = {module_of(path, package): path for path in sorted(package.rglob("*.py"))}
    found = {}
    for module, path in modules.items():
        targets = {name if name in modules else name.rpartition(".")[0] for name in imported(path)}
        found[module] = {name for name in targets if name in modules and name not in (module, package.name)}
    return found


@functools.cache
def own_arrows() -> dict[str, set[str]]:
    """Return the arrows of camtool, which hundreds of tests ask for."""
    return arrows(PACKAGE)


def circle(graph: Mapping[str, Set[str]]) -> list[str]:
    """Return modules that import each other in turn, the first one again at the end; [] where there are none."""
    done: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        path.append(module)
        for other in sorted(graph.get(module, ())):
            if found := visit(other):
                return found
        done.add(path.pop())
        return []

    return next((found for module in sorted(graph) if (found := visit(module))), [])


def floor_of(room: str) -> int:
    """Return the number of the floor that a room is on, from the ground up."""
    (floor,) = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    return floor


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    own = room_of(module_of(path))
    for module in own_arrows()[module_of(path)]:
        other = room_of(module)
        assert other == own or floor_of(other) < floor_of(own), f"{own} imports {module}, which is not below it"


def test_no_files_import_each_other_in_a_circle() -> None:
    found = circle(own_arrows())
    assert not found, " > ".join(found)


def test_a_circle_is_found_wherever_the_import_stands(tmp_path: Path) -> None:
    package = tmp_path / "house"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.py").write_text("from house.b import name\n")
    (package / "b.py").write_text("def later():\n    from house import c\n")
    (package / "c.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import house.d\n")
    (package / "d.py").write_text("import os\n")
    assert circle(arrows(package)) == []
    (package / "d.py").write_text("from house.b import later\n")
    assert circle(arrows(package)) == ["house.b", "house.c", "house.d", "house.b"]


def test_every_room_is_on_one_floor_and_there_are_few() -> None:
    rooms = {room_of(module_of(path)) for path in FILES}
    assert rooms == set().union(*FLOORS)
    assert len(rooms) == sum(map(len, FLOORS)) <= MOST_ROOMS


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_library_is_imported_in_its_room_only(path: Path) -> None:
    room = room_of(module_of(path))
    for module in imported(path):
        assert room in ROOMS_OF.get(module.split(".")[0], {room}), f"{room} imports {module}"


def test_rooms_stay_small() -> None:
    long = {path.name: lines for path in FILES if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES}
    assert not long, "a file with more than one concept?"
