"""The hierarchy: one generator for the whole face and one for each busy region, told by a parser."""
