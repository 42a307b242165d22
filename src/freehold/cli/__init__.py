"""The command line: one file per command. It starts the server or speaks to a running one over HTTP."""

import sys

__all__ = ["main"]


def main() -> None:
    """The command `freehold`. What goes wrong by the user's side is one line on stderr and exit code 2."""
    from freehold.errors import FreeholdError

    try:
        if sys.argv[1:2] == ["serve"]:
            from freehold.cli import plain_serve

            flags = plain_serve.flags_of(sys.argv[2:])
            if flags is not None:
                sys.exit(plain_serve.run(flags))
        from freehold.cli.commands import commands

        commands()(prog_name="freehold")
    except FreeholdError as error:
        print(f"freehold: {error.message}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise  # of no file that the user could have named
        print(f"freehold: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
