"""Methods that use the weights of a linear head."""
