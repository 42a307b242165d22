"""Freehold: the Claude agent platform you own."""

__all__ = ["__version__", "build", "is_compiled"]

__version__ = "0.1.0"


def is_compiled() -> bool:
    """Whether this is the build whose hot path mypyc has made C of; told by one of its modules, which is not loaded."""
    from importlib.machinery import EXTENSION_SUFFIXES
    from importlib.util import find_spec

    found = find_spec("freehold.ledger.purse")
    return found is not None and (found.origin or "").endswith(tuple(EXTENSION_SUFFIXES))


def build() -> str:
    """For people: `0.1.0, hot path compiled`, or `… interpreted`."""
    return f"{__version__}, hot path {'compiled' if is_compiled() else 'interpreted'}"
