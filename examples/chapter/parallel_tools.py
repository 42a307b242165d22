"""Three tools, called in parallel: Claude asks for all of them at once, we answer all of them in one message."""

import json
from concurrent.futures import ThreadPoolExecutor

from anthropic import Anthropic

CITY = {"type": "object", "properties": {"city": {"type": "string", "description": "A city"}}, "required": ["city"]}
TOOLS = [
    {"name": "get_weather", "description": "The weather in a city.", "input_schema": CITY},
    {"name": "get_time", "description": "The local time in a city.", "input_schema": CITY},
    {"name": "get_population", "description": "The population of a city.", "input_schema": CITY},
]
ANSWERS = {"get_weather": "18 °C, light rain", "get_time": "14:05", "get_population": "891,736"}


def run(call):
    result = {"city": call.input["city"], "answer": ANSWERS[call.name]}
    return {"type": "tool_result", "tool_use_id": call.id, "content": json.dumps(result)}


client = Anthropic()
question = "Get the weather, get the time and get the population for the city of Turin."
messages = [{"role": "user", "content": question}]
while True:
    message = client.messages.create(model="claude-haiku-5-5", max_tokens=1000, tools=TOOLS, messages=messages)
    calls = [block for block in message.content if block.type == "tool_use"]
    if message.stop_reason != "tool_use":
        break
    print("called together:", ", ".join(sorted(call.name for call in calls)))
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(run, calls))
    messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
print("".join(block.text for block in message.content if block.type == "text"))
