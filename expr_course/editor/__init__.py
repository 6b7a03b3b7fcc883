"""The editor: the tool that a person drags, as a widget and as a page."""
from .tool import Editor

__all__ = ["Editor"]
