"""The calls of medcam3d, Grad-CAM of volumes: `from camtool.compat.medcam3d import GradCAM`."""

from camtool.compat.medcam3d.grad_cam import GradCAM as GradCAM

__all__ = ["GradCAM"]
