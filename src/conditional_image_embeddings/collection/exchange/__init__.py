"""For and from other tools: one module per format, listed in `formats`; a collection leaves and comes in blockwise."""
