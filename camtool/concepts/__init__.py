"""Deep feature factorization: concepts in the activations of a layer over a batch."""
