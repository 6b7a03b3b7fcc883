"""Editing: a picture and a named change of expression in, the same kind of picture out."""
from .expression_editor import ExpressionEditor

__all__ = ["ExpressionEditor"]
