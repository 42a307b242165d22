"""Freehold: the Claude agent platform you own."""

__version__ = "0.1.0"
