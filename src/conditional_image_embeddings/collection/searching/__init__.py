"""Neighbours: what is searched for, which images may be near, how they score, where the list ends."""
