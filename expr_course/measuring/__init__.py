"""Measuring: what an edit is worth, and the judges that read a face."""
