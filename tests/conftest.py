"""Set-up of every test: shapes in signatures are checked, warnings are errors, random numbers are seeded."""

import gc
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # --import-mode=importlib adds nothing; helpers are imported as tests.networks, tests.methods.replicas

from tests import type_checks  # noqa: E402 - after the line above

# Before anything imports camtool: from here on every annotated shape and type in it is checked at every call.
type_checks.install("camtool")

# Imported by pytest when this file is done, after the hook above.
pytest_plugins = ("tests.cli.fixtures", "tests.models.fixtures", "tests.train.fixtures")

THIRD_PARTY = (
    "beartype",
    "cv2",
    "google",
    "jaxtyping",
    "matplotlib",
    "mmcv",
    "mmengine",
    "mmpretrain",
    "numpy",
    "pkg_resources",
    "pytorch_grad_cam",
    "sklearn",
    "timm",
    "torch",
    "torchvision",
    "transformers",
    "ttach",
    "wfdb",
)
DEPRECATIONS = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full-sweep", action="store_true", help="Sweep the zoo's backbones as wide as published: minutes, 5 GB of memory.")


@pytest.fixture
def full_sweep(request: pytest.FixtureRequest) -> bool:
    """Whether networks as wide as published were asked for."""
    return bool(request.config.getoption("--full-sweep"))


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--full-sweep"):  # whose test is a slow one
        config.option.markexpr = ""
    # Later lines win. Only a library's own deprecations, raised from its own code, are let through.
    config.addinivalue_line("filterwarnings", "error")
    # mmengine leaves its temporary copy open where a config raises.
    config.addinivalue_line("filterwarnings", "ignore:unclosed file:ResourceWarning")
    for module in THIRD_PARTY:
        for category in DEPRECATIONS:
            config.addinivalue_line("filterwarnings", rf"ignore::{category}:{module}(\.|$)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first: one process runs a file, and the last file to begin must not be the longest."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(autouse=True, scope="module")
def what_is_imported_is_not_searched_for_garbage() -> None:
    """A search through all that the libraries made takes a second; mmengine asks for one whenever it reads a data set."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random numbers, whatever ran before it."""
    import numpy as np
    import torch

    torch.set_num_threads(1)  # the networks are tiny: more threads wait for each other, fourfold where cores are shared
    torch.manual_seed(0)
    np.random.seed(0)  # libraries that draw from the global generator
