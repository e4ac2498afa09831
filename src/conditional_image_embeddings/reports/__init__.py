"""Pages to look at: the demo's, and the paper's tables; each is one HTML file that needs nothing else."""
