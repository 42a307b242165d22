"""Metrics of what happens here. It counts what it is told and renders it; it knows no feature."""
