"""Calls that users of other packages have in their code, on camtool's maps."""

from camtool.compat import medcam as medcam
from camtool.compat import medcam3d as medcam3d
from camtool.compat import monai as monai
from camtool.compat.cam_agent import CAMAgent as CAMAgent
from camtool.compat.evaluations import Attribution as Attribution
from camtool.compat.evaluations import quantus_explain_func as quantus_explain_func

__all__ = ["Attribution", "CAMAgent", "medcam", "medcam3d", "monai", "quantus_explain_func"]
