"""Messages: one answer whole, one streamed, one counted beforehand. Needs ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY."""

from anthropic import Anthropic

MODEL = "claude-haiku-5-5"

client = Anthropic()

message = client.messages.create(
    model=MODEL,
    max_tokens=500,
    system="Answer in one sentence.",
    messages=[{"role": "user", "content": "What is a freehold?"}],
)
print(*(block.text for block in message.content if block.type == "text"), sep="\n")
print(f"({message.usage.input_tokens} tokens in, {message.usage.output_tokens} out, {message.stop_reason})\n")

count = client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "用一句话介绍你自己。"}])
print(f"The next question has {count.input_tokens} tokens.")

with client.messages.stream(
    model=MODEL, max_tokens=500, messages=[{"role": "user", "content": "用一句话介绍你自己。"}]
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()
