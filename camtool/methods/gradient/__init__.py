"""Methods that weight activations by their gradients."""
