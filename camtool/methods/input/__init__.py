"""Methods of the input: what a score's gradients there, and at the biases, say."""
