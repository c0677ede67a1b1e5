"""Methods defined by the weights of a linear head."""
