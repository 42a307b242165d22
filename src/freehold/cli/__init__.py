"""The command line: one file per command. It starts the server or speaks to a running one over HTTP."""

import sys

__all__ = ["main"]


def main() -> None:
    """The command `freehold`. What goes wrong by the user's side is one line on stderr and exit code 2."""
    from freehold.cli.commands import commands
    from freehold.errors import FreeholdError

    try:
        commands()(prog_name="freehold")
    except FreeholdError as error:
        print(f"freehold: {error.message}", file=sys.stderr)
        sys.exit(2)
