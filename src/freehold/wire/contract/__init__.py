"""The shapes of requests, taken from the official SDK's own types; nothing of them is written by hand."""

from freehold.wire.contract.checker import check, fields, operations

__all__ = ["check", "fields", "operations"]
