"""Methods defined by the attention of a transformer."""
