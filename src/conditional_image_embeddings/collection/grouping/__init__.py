"""Groups under a condition, named by their words; images alike in every respect asked for."""
