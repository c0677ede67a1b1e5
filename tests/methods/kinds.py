"""Which methods read what; from the registry, so that a new one is in every test."""

import inspect

from camtool.methods import BaseMethod, find_method, method_names
from camtool.methods._base import ATTENTION, INPUT, LAYERS

NAMES = method_names()
OF_LAYERS = [name for name in NAMES if find_method(name).reads == LAYERS]
OF_INPUT = [name for name in NAMES if find_method(name).reads == INPUT]
OF_INPUT_GRADIENTS = [name for name in OF_INPUT if find_method(name).needs.gradients]
"""Those of them that read the shared pass alone."""
OF_ATTENTION = [name for name in NAMES if find_method(name).reads == ATTENTION]
OF_TOKENS = [name for name in OF_LAYERS if find_method(name).needs.tokens]
OF_MAPS = [name for name in OF_LAYERS if name not in OF_TOKENS]
"""Those that a convolutional network can be asked for."""
OF_CHANNELS = [name for name in OF_LAYERS if find_method(name).contributions is not BaseMethod.contributions]
"""Those that sum over channels, so that eigen-smooth is defined."""
_AS_THE_BASE = [name for name in OF_LAYERS if find_method(name).eigen_smooth_map is BaseMethod.eigen_smooth_map]
REFUSING_EIGEN_SMOOTH = [name for name in _AS_THE_BASE if name not in OF_CHANNELS]
OF_NOISE = [name for name in NAMES if {"samples", "seed"} <= inspect.signature(find_method(name)).parameters.keys()]
"""Those that add noise to the input, which is the same for an input and its mirror image."""
