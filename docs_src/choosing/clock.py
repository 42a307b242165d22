import time

from anthropic import Anthropic

client = Anthropic()
RULES = "The archive opens at nine. Visitors leave their bags at the door. " * 120
for _ in range(2):
    now = f"It is {time.time():.6f}. "  # the mistake
    block = {"type": "text", "text": now + RULES, "cache_control": {"type": "ephemeral"}}
    client.messages.create(
        model="claude-sonnet-5-5",
        max_tokens=100,
        system=[block],
        messages=[{"role": "user", "content": "When do you open?"}],
    )
