"""Aspects in which images differ: proposed by the model itself, and ranked by how well they separate a sample."""
