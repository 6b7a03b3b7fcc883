"""The editor: the tool that a person drags, as a widget and as a page; and the session that it shows, for programs."""
from .session import Session
from .tool import Editor

__all__ = ["Editor", "Session"]
