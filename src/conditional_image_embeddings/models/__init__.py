"""Checkpoints of models: found, verified and loaded."""
