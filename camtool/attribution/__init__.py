"""One CAM call: the forward pass that methods share, what they query beyond it, and the maps they give."""
