"""The benchmark: camtool and its peers on the same network, layer and inputs, in turns; its cases are data."""
