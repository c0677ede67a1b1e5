"""One CAM call: the shared forward pass of all methods, their further queries of the network, and their maps."""
