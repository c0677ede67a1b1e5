"""Methods that look at activations alone."""
