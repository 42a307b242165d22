"""A message batch: submit, poll until it has ended, collect by custom_id; half the price of single calls."""

import time

from anthropic import Anthropic

REVIEWS = {
    "review-1": "The kettle is quiet and quick.",
    "review-2": "It broke after two days.",
    "review-3": "Does what it should.",
}

client = Anthropic()
requests = [
    {
        "custom_id": name,
        "params": {
            "model": "claude-haiku-5-5",
            "max_tokens": 50,
            "messages": [{"role": "user", "content": f"Is this review positive? Answer in one word. {text}"}],
        },
    }
    for name, text in REVIEWS.items()
]
requests.append({"custom_id": "broken", "params": {**requests[0]["params"], "max_tokens": -1}})

batch = client.messages.batches.create(requests=requests)
print(f"submitted {batch.id} with {batch.request_counts.processing} requests")
while batch.processing_status != "ended":
    time.sleep(0.5)
    batch = client.messages.batches.retrieve(batch.id)

tokens = 0
for line in client.messages.batches.results(batch.id):
    if line.result.type == "succeeded":
        message = line.result.message
        tokens += message.usage.input_tokens + message.usage.output_tokens
        print(f"{line.custom_id}: {''.join(block.text for block in message.content if block.type == 'text')}")
    elif line.result.type == "errored":
        print(f"{line.custom_id}: errored, {line.result.error.error.message}")
    else:
        print(f"{line.custom_id}: {line.result.type}")
print(f"succeeded {batch.request_counts.succeeded}, errored {batch.request_counts.errored}, {tokens} tokens")
