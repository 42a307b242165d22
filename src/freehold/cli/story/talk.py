"""The first part of the story: three turns with a system prompt, streamed through the official SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from freehold.cli.story.bill import Meter
from freehold.cli.story.screen import Screen

if TYPE_CHECKING:
    from anthropic import Anthropic
    from anthropic.types import MessageParam

MODEL = "claude-haiku-5-5"
SYSTEM = "You advise a small shop for tea and ink. Answer in at most two sentences, in the language of the question."
QUESTIONS = (
    "We have a year of orders in a CSV file. What should we look at first?",
    "为什么还要看退货率？",
    "Put both into one plan for this afternoon.",
)


def talk(client: Anthropic, screen: Screen, meter: Meter) -> None:
    """Three turns; each sees what was said before."""
    screen.fact("system", SYSTEM)
    turns: list[MessageParam] = []
    for question in QUESTIONS:
        meter.check()
        screen.fact("you", question, "bold")
        turns.append({"role": "user", "content": question})
        with client.messages.stream(model=MODEL, max_tokens=1000, system=SYSTEM, messages=turns) as stream:
            screen.speak("claude", stream.text_stream)
            message = stream.get_final_message()
        usage = message.usage
        screen.fact("", f"{usage.input_tokens} tokens in, {usage.output_tokens} out, {message.stop_reason}", "dim")
        turns.append({"role": "assistant", "content": message.content})
