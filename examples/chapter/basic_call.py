"""A basic call: the answer, what it used, and why it stopped. Needs ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY."""

from anthropic import Anthropic

message = Anthropic().messages.create(
    model="claude-haiku-5-5",
    max_tokens=300,
    messages=[{"role": "user", "content": "Explain a mortgage in one sentence."}],
)
print("".join(block.text for block in message.content if block.type == "text"))
print(f"input tokens: {message.usage.input_tokens}, output tokens: {message.usage.output_tokens}")
print(f"stop reason: {message.stop_reason}")
