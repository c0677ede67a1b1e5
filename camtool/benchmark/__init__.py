"""Benchmark of camtool and other packages (peers) on the same network, layer and inputs; coverage of the zoo's backbones."""
