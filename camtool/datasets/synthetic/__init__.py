"""Scenes whose answers are known, made on the fly or written as folders."""
