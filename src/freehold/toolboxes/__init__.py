"""Your Python functions as tools: files of decorated functions, loaded at start and run in this process."""

from freehold.toolboxes.current import CurrentCall, current_call

__all__ = ["CurrentCall", "current_call"]
