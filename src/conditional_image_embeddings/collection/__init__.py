"""What is on disk, and what is done with it: the store, the embedding job, words, refinement."""
