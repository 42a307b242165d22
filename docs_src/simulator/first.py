from anthropic import Anthropic

client = Anthropic()  # reads ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY
message = client.messages.create(
    model="claude-haiku-5-5",
    max_tokens=200,
    tools=[
        {
            "name": "get_weather",
            "description": "The weather in a city",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        }
    ],
    messages=[{"role": "user", "content": "What is the weather in Paris?"}],
)
for block in message.content:
    if block.type == "tool_use":
        print(block.name, block.input)
