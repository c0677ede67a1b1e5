"""Class activation maps: where does a vision network look?

Example:
    >>> import camtool
    >>> dir(camtool)
    ['CAM', 'CAMResult', 'Explainer', 'Explanation', '__version__', 'deep_feature_factorization']
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CAM", "CAMResult", "Explainer", "Explanation", "__version__", "deep_feature_factorization"]

if TYPE_CHECKING:
    from camtool.apis import Explainer as Explainer
    from camtool.apis import Explanation as Explanation
    from camtool.attribution.cam import CAM as CAM
    from camtool.attribution.result import CAMResult as CAMResult
    from camtool.concepts.deep_feature_factorization import deep_feature_factorization as deep_feature_factorization

# Lazy: `import camtool` must not import torch, so that `--help` answers at once.
_MODULES = {
    "CAM": "camtool.attribution.cam",
    "CAMResult": "camtool.attribution.result",
    "Explainer": "camtool.apis",
    "Explanation": "camtool.apis",
    "deep_feature_factorization": "camtool.concepts.deep_feature_factorization",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'camtool' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
