"""Photographs: find the face, edit it in its frame, and put only the change back."""
