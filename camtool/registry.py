"""Registries: whatever a config names by `type` is found here, a user's own classes (`custom_imports`) included."""

from mmengine.registry import Registry

METHODS = Registry("method", scope="camtool", locations=["camtool.methods"])
FUSIONS = Registry("fusion", scope="camtool", locations=["camtool.fusion"])
LAYOUTS = Registry("layout", scope="camtool", locations=["camtool.layouts"])
TARGETS = Registry("target", scope="camtool", locations=["camtool.targets"])
