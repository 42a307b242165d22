"""An agent that adapts: it runs tools until it has its answer, and gives itself more room when that was not enough."""

from anthropic import Anthropic

MOST_TURNS = 6
TOOL = {
    "name": "get_price",
    "description": "Get the price of a product.",
    "input_schema": {"type": "object", "properties": {"product": {"type": "string"}}, "required": ["product"]},
}
client = Anthropic()


def solve(task):
    messages, room = [{"role": "user", "content": task}], 40
    for turn in range(1, MOST_TURNS + 1):
        message = client.messages.create(
            model="claude-haiku-5-5", max_tokens=room, tools=[TOOL], messages=messages, thinking={"type": "adaptive"}
        )
        print(f"turn {turn}: {message.stop_reason} with room for {room} tokens")
        if message.stop_reason == "max_tokens":
            room *= 8  # the same turn again, with more room
        elif message.stop_reason == "tool_use":
            calls = [block for block in message.content if block.type == "tool_use"]
            results = [{"type": "tool_result", "tool_use_id": call.id, "content": "12.50"} for call in calls]
            messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
        else:
            return "".join(block.text for block in message.content if block.type == "text")
    raise RuntimeError(f"no answer after {MOST_TURNS} turns")


print(solve('Get the price of the product "teapot".'))
