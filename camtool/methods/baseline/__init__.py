"""Maps that know nothing of the network: what a method must beat."""
