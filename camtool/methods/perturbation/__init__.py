"""Methods that measure how scores change with the activations or the input."""
