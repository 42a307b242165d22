"""`freehold chat`: a conversation with a model through a running server, streamed; with images, files and own tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import Data, KeyFile, Url
from freehold.errors import FreeholdError

if TYPE_CHECKING:
    from freehold.cli.chatting.conversation import Conversation

_HELP = "/file PATH adds an image, a PDF or a text · /model NAME · /clear · /usage · /help · /quit"


def chat(
    message: Annotated[str | None, typer.Argument(help="What to say; left out: a conversation, line by line.")] = None,
    model: Annotated[str, typer.Option(help="Which model answers.")] = "claude-sonnet-5-5",
    system: Annotated[str | None, typer.Option(help="The system prompt.")] = None,
    file: Annotated[list[Path] | None, typer.Option(help="An image, a PDF or a text; may be repeated.")] = None,
    tools: Annotated[Path | None, typer.Option(help="Python file with `beta_tool` functions.")] = None,
    history: Annotated[Path | None, typer.Option(help="File to keep the conversation in, and to go on from.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 4096,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON; needs a message.")] = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Talk to a model. The functions of --tools run here, in this command's own process."""
    from freehold.cli.chatting.conversation import Conversation, Manner
    from freehold.cli.chatting.functions import functions
    from freehold.cli.official import client_of
    from freehold.cli.settings import server_of

    if as_json and message is None:
        raise typer.BadParameter("--json needs the message on the command line")
    manner = Manner(model, system, max_tokens, functions(tools) if tools else ())
    with client_of(server_of(data, url, key_file)) as client:
        conversation = Conversation(client, manner, history)
        for path in file or []:
            conversation.attach(path)
        if message is None:
            _talk(conversation)
        elif as_json:
            print(conversation.answer(message).to_json())
        else:
            conversation.say(message)


def _talk(conversation: Conversation) -> None:
    """Line by line until the end of the input or `/quit`."""
    asking = sys.stdin.isatty()
    if asking:
        import readline  # noqa: F401  (gives the prompt its line editing)

        typer.secho(f"{conversation.manner.model}. {_HELP}", dim=True)
    while True:
        try:
            line = input("\n> " if asking else "").strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            print()
            return
        if line in ("/quit", "/exit"):
            return
        try:
            _one(conversation, line)
        except FreeholdError as error:
            typer.secho(f"freehold: {error.message}", fg="red", err=True)
        except KeyboardInterrupt:
            typer.secho("\n(stopped; that turn is forgotten)", dim=True)


def _one(conversation: Conversation, line: str) -> None:
    if line.startswith("/"):
        _command(conversation, line)
    elif line:
        conversation.say(line)


def _command(conversation: Conversation, line: str) -> None:
    word, _, rest = line.partition(" ")
    if word in ("/file", "/image") and rest:
        typer.secho(f"{conversation.attach(Path(rest.strip()))} goes with what you say next", dim=True)
    elif word == "/model" and rest:
        conversation.manner = conversation.manner.on(rest.strip())
    elif word == "/clear":
        conversation.clear()
    elif word == "/usage":
        typer.secho(conversation.used(), dim=True)
    else:
        typer.secho(_HELP, dim=True)
