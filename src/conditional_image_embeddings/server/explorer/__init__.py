"""`cie explore`: a page over opened collections, and the answers that it is made of."""
