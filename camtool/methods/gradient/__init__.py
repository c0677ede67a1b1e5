"""Methods that weight activations with their gradients."""
