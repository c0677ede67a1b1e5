"""Synthetic scenes with known ground truth, generated on the fly or written as an image folder."""
