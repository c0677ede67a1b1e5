"""Methods that use activations alone."""
