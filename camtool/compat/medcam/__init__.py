"""The calls of M3d-Cam (arXiv:2007.00453): `from camtool.compat import medcam`, then `medcam.inject(model, …)`."""

from camtool.compat.medcam.evaluation import compute_score as compute_score
from camtool.compat.medcam.injection import inject as inject
from camtool.compat.medcam.layer_names import get_layers as get_layers

__all__ = ["compute_score", "get_layers", "inject"]
