"""What is installed: wheel, sdist and editable install hold the same names, and configs only below camtool/."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import camtool

ROOT = Path(__file__).resolve().parents[1]
BUILT_FROM = ("camtool", "configs", "demo", "LICENSE", "README.md", "pyproject.toml")


def _files(*folders: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return set(listed.splitlines())


NETWORKS = ("brightness", "colours", "ecg_layers", "linknet3d")
CONFIGS = {f"camtool/{path}" for path in _files("configs")}


def _call(*command: str, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def _build(kind: str, source: Path, target: Path) -> Path:
    """Return what the build backend makes of `source`: a wheel, an editable wheel or an sdist; nothing is downloaded."""
    target.mkdir(exist_ok=True)
    program = f"import sys; from setuptools.build_meta import build_{kind}; name = build_{kind}(sys.argv[1]); print(); print(name)"
    strict = () if kind == "editable" else ("-W", "error")  # there it says how it is done by a warning
    return target / _call(sys.executable, *strict, "-c", program, str(target), folder=source).splitlines()[-1]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built: a build leaves files where it runs."""
    folder = tmp_path_factory.mktemp("tree")
    for path in _files(*BUILT_FROM):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / path)
    return folder


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that pip builds, without a network."""
    target = tmp_path_factory.mktemp("wheel")
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index")
    _call(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(target), str(tree), folder=target)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    target = tmp_path_factory.mktemp("sdist")
    with tarfile.open(_build("sdist", tree, target)) as archive:
        archive.extractall(target, filter="data")
    (unpacked,) = (path for path in target.iterdir() if path.is_dir())
    return unpacked


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.startswith("camtool/")}


def test_the_wheel_holds_every_module_and_config_and_nothing_beside_camtool(wheel: Path) -> None:
    names = _names(wheel)
    package = {name for name in names if ".dist-info/" not in name}

    assert {name.split("/")[0] for name in package} == {"camtool"}
    assert {name for name in package if name.startswith("camtool/configs/")} == CONFIGS
    modules = {path for path in _files("camtool") if path.endswith(".py")}
    assert package - CONFIGS == {*modules, "camtool/py.typed", *(f"camtool/demo/{name}.py" for name in NETWORKS)}
    assert {name.rpartition("/")[2] for name in names - package} >= {"METADATA", "entry_points.txt", "LICENSE"}


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    assert wheel.name == f"camtool-{camtool.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/entry_points.txt"))
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    assert "camtool = camtool.cli.start:main" in entry_points
    assert "Classifier: Typing :: Typed" in metadata


def test_a_wheel_of_the_sdist_is_the_same(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    assert {str(path.relative_to(sdist)) for path in sdist.glob("configs/*/*")} == {
        path for path in _files("configs") if path.count("/") == 2
    }
    assert _contents(_build("wheel", sdist, tmp_path)) == _contents(wheel)


def test_wheel_sdist_and_editable_install_find_the_same_names(wheel: Path, sdist: Path, tree: Path, tmp_path: Path) -> None:
    program = """if True:
        import json, site, sys
        site.addsitedir(sys.argv[1])
        sys.path.append(sys.argv[2])  # not addsitedir: what is installed editable there stays out
        import camtool
        from camtool.config.loading import load_config
        from camtool.config.shipped import own_names, shipped_root
        from camtool.config.yaml_config import load_either
        base = load_config("cnn_tiny_shapes").config
        recipe = load_either("cam_config").config
        print(json.dumps({
            "at": [camtool.__file__, str(shipped_root())],
            "names": list(own_names()),
            "base": [base.train_dataloader.dataset.type, base.train_cfg.max_epochs],
            "recipe": recipe.model.type,
            "network": (shipped_root().parent / "demo/colours.py").is_file(),
        }))
    """
    found = {}
    for kind, built in (
        ("wheel", wheel),
        ("sdist", _build("wheel", sdist, tmp_path / "of_sdist")),
        ("editable", _build("editable", tree, tmp_path / "editable_wheel")),
    ):
        site = tmp_path / kind
        with zipfile.ZipFile(built) as archive:
            archive.extractall(site)
        libraries = sysconfig.get_path("purelib")
        found[kind] = json.loads(_call(sys.executable, "-S", "-c", program, str(site), libraries, folder=tmp_path))
        package, configs = map(Path, found[kind].pop("at"))
        where = tree if kind == "editable" else site
        assert package == where / "camtool/__init__.py"
        assert configs == (tree / "configs" if kind == "editable" else site / "camtool/configs")

    assert found["wheel"] == found["sdist"] == found["editable"]
    assert found["wheel"]["base"] == ["camtool.Shapes", 10]
    assert found["wheel"]["recipe"] == "camtool.ResNetCAM"
    assert found["wheel"]["network"]
    assert "efficientnet-lite0_in1k" in found["wheel"]["names"]


def test_nothing_but_pyproject_says_how_it_is_built() -> None:
    assert not _files("setup.py", "setup.cfg", "MANIFEST.in")
