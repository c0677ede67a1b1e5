"""Baselines: maps that do not depend on what the network has learned."""
