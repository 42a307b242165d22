"""A conversation: what was said so far, kept in a file if wished; a turn streams its answer and runs its tools.

A turn that fails or is stopped leaves the conversation as it was.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from freehold.cli.chatting.attachments import block
from freehold.cli.flow import Flow
from freehold.errors import FreeholdError

if TYPE_CHECKING:
    from anthropic import Anthropic

_WIDEST = 120


class BadHistory(FreeholdError):
    """The file is no conversation, or cannot be written."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How the model is asked."""

    model: str
    system: str | None
    max_tokens: int
    tools: Sequence[Any] = ()

    def on(self, model: str) -> Manner:
        """The same, on another model."""
        return dataclasses.replace(self, model=model)


class Conversation:
    """Turns with one model after the other."""

    def __init__(
        self, client: Anthropic, manner: Manner, history: Path | None = None, console: Console | None = None
    ) -> None:
        self.manner = manner
        self._client = client
        self._history = history
        self._console = console or Console(highlight=False)
        self._turns: list[Any] = _loaded(history)
        self._along: list[dict[str, Any]] = []
        self._tokens = [0, 0]

    def attach(self, file: Path) -> str:
        """Let a file go along with what is said next; gives its name. Raises as `attachments.block`."""
        self._along.append(block(file))
        return file.name

    def clear(self) -> None:
        """Forget everything that was said, here and in the file."""
        self._turns, self._along = [], []
        self._keep()

    def used(self) -> str:
        """Tokens of all turns of this run."""
        return f"{self._tokens[0]:,} tokens in, {self._tokens[1]:,} out, {len(self._turns)} messages"

    def say(self, text: str) -> None:
        """One turn, shown while it comes."""
        for stream in self._asked(text):
            self._show(stream)

    def answer(self, text: str) -> Any:
        """One turn, without showing it; gives the last message of the model."""
        last: Any = None
        for stream in self._asked(text):
            last = stream.get_final_message()
        return last

    def _asked(self, text: str) -> Iterator[Any]:
        """The streams of one turn: one, and another after every round of tools. A whole turn becomes part of it all."""
        said = [*self._turns, {"role": "user", "content": [*self._along, {"type": "text", "text": text}]}]
        asked: dict[str, Any] = {"model": self.manner.model, "max_tokens": self.manner.max_tokens, "messages": said}
        if self.manner.system:
            asked["system"] = self.manner.system
        runner = self._client.beta.messages.tool_runner(**asked, tools=self.manner.tools, stream=True, thread=False)
        for stream in runner:
            yield stream
            message = stream.get_final_message()
            self._count(message.usage)
            said.append({"role": "assistant", "content": _plain(message.content)})
            results = runner.generate_tool_call_response()
            if results is not None:
                said.append(results)
                self._results(results)
        self._turns, self._along = said, []
        self._keep()

    def _show(self, stream: Any) -> None:
        flow = Flow(self._console, min(_WIDEST, self._console.width), 0, "")
        begun = False
        for event in stream:
            if event.type == "text":
                if not begun:
                    flow.begin("claude")
                    begun = True
                flow.write(event.text)
            elif event.type == "content_block_stop" and event.content_block.type == "tool_use":
                if begun:
                    flow.end()
                    begun = False
                call = event.content_block
                self._note(f"calls {call.name} {json.dumps(call.input, ensure_ascii=False)}", "yellow")
        if begun:
            flow.end()

    def _results(self, message: Any) -> None:
        for result in message["content"]:
            content = result.get("content")
            said = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            failed = bool(result.get("is_error"))
            self._note(f"{'failed: ' if failed else '→ '}{said}", "red" if failed else "dim")

    def _note(self, text: str, style: str) -> None:
        line = Text("   " + " ".join(text.split()), style)
        line.truncate(min(_WIDEST, self._console.width), overflow="ellipsis")
        self._console.print(line, no_wrap=True, crop=False)

    def _count(self, usage: Any) -> None:
        read = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        self._tokens = [self._tokens[0] + read, self._tokens[1] + usage.output_tokens]

    def _keep(self) -> None:
        if self._history is None:
            return
        lines = [json.dumps(turn, ensure_ascii=False) + "\n" for turn in self._turns]
        try:
            self._history.write_text("".join(lines), "utf-8")
        except OSError as error:
            raise BadHistory(f"{self._history} cannot be written: {error.strerror or error}") from error


def _plain(content: Sequence[Any]) -> list[Any]:
    return [part.to_dict(mode="json", exclude_unset=True) for part in content]


def _loaded(history: Path | None) -> list[Any]:
    if history is None or not history.exists():
        return []
    try:
        turns = [json.loads(line) for line in history.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise BadHistory(f"{history} is no conversation: {error}") from error
    if not all(isinstance(turn, dict) and turn.get("role") in ("user", "assistant") for turn in turns):
        raise BadHistory(f"{history} is no conversation: each line must be a message with a role")
    return turns
