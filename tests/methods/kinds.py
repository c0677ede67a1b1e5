"""Which methods read what; from the registry, so that a new one is in every test."""

import inspect

from camtool.methods import ChannelMethod, InputMethod, Method, find_method, method_names

NAMES = method_names()
OF_LAYERS = [name for name in NAMES if issubclass(find_method(name), Method)]
OF_INPUT = [name for name in NAMES if issubclass(find_method(name), InputMethod)]
OF_ATTENTION = [name for name in NAMES if name not in OF_LAYERS + OF_INPUT]
OF_TOKENS = [name for name in OF_LAYERS if getattr(find_method(name), "needs_tokens", False)]
OF_MAPS = [name for name in OF_LAYERS if name not in OF_TOKENS]
"""Those that a convolutional network can be asked for."""
OF_CHANNELS = [name for name in OF_LAYERS if issubclass(find_method(name), ChannelMethod)]
"""Those that sum over channels, so that eigen-smooth is defined."""
REFUSING_EIGEN_SMOOTH = [name for name in OF_LAYERS if find_method(name).eigen_smooth_map is Method.eigen_smooth_map]
OF_NOISE = [name for name in NAMES if {"samples", "seed"} <= inspect.signature(find_method(name)).parameters.keys()]
"""Those that add noise to the input, which is the same for an input and its mirror image."""
