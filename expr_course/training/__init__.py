"""Training: the loop, what hangs on it, exact resume, recipes, and the card of every weight."""
