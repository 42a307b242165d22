"""Forcing a tool: this one, or any. Some models do not take it and say so with a 400; then choose another model."""

from anthropic import Anthropic, BadRequestError

TOOL = {
    "name": "record_sentiment",
    "description": "Record the sentiment of a text.",
    "input_schema": {
        "type": "object",
        "properties": {"sentiment": {"type": "string", "enum": ["good", "bad"]}},
        "required": ["sentiment"],
    },
}
client = Anthropic()


def ask(model, choice):
    message = client.messages.create(
        model=model,
        max_tokens=500,
        tools=[TOOL],
        tool_choice=choice,
        messages=[{"role": "user", "content": "I love this house; the sentiment is good."}],
    )
    (call,) = (block for block in message.content if block.type == "tool_use")
    return f"{call.name}({call.input})"


print("tool:", ask("claude-haiku-4-5", {"type": "tool", "name": "record_sentiment"}))
print("any:", ask("claude-haiku-4-5", {"type": "any"}))
try:
    ask("claude-sonnet-5-5", {"type": "any"})
except BadRequestError as error:
    print("refused:", error.status_code, error.body["error"]["message"])
