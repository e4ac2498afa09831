"""A job's embedder on a Ray cluster: the driver lists and commits, workers read and embed."""
