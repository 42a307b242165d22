"""Routing by tier: a small model for the simple, a larger one for what looks hard."""

from anthropic import Anthropic

TIERS = {"simple": "claude-haiku-5-5", "usual": "claude-sonnet-5-5", "hard": "claude-opus-5-5"}
HARD_WORDS = {"prove", "design", "architecture", "refactor", "analyse"}


def tier_of(question):
    words = set(question.lower().replace(",", " ").split())
    if words & HARD_WORDS:
        return "hard"
    return "simple" if len(words) < 8 else "usual"


client = Anthropic()
for question in (
    "What is rent?",
    "Write a friendly note to my neighbour about the hedge between our two gardens.",
    "Design the architecture of a land registry.",
):
    tier = tier_of(question)
    messages = [{"role": "user", "content": question}]
    message = client.messages.create(model=TIERS[tier], max_tokens=400, messages=messages)
    print(f"{tier}: {message.model} answered with {message.usage.output_tokens} tokens")
