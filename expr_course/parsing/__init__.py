"""Parsing: nineteen classes for every pixel of a face, learnt from drawings, used on photographs."""
