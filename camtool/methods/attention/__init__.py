"""Methods that use the attention weights of a transformer."""
