"""Methods that use gradients of the score at the input and at the biases."""
