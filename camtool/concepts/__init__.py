"""Deep feature factorization: the concepts that a layer sees in a batch."""
