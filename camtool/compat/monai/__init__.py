"""The calls of monai.visualize: `from camtool.compat.monai import GradCAM`."""

from camtool.compat.monai.class_activation_maps import CAM as CAM
from camtool.compat.monai.class_activation_maps import GradCAM as GradCAM
from camtool.compat.monai.class_activation_maps import GradCAMpp as GradCAMpp
from camtool.compat.monai.occlusion_sensitivity import OcclusionSensitivity as OcclusionSensitivity
from camtool.compat.monai.postprocessing import default_normalizer as default_normalizer
from camtool.compat.monai.postprocessing import default_upsampler as default_upsampler
from camtool.compat.monai.postprocessing import hottest_is_one as hottest_is_one

__all__ = ["CAM", "GradCAM", "GradCAMpp", "OcclusionSensitivity", "default_normalizer", "default_upsampler", "hottest_is_one"]
