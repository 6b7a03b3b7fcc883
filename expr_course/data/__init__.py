"""Data: drawn and real faces through one door, in one frame, in one schema."""
