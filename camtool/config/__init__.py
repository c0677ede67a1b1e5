"""Configs: read in every form (OpenMMLab, the short YAML, Awesome-Backbones) and checked."""
