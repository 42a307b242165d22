"""A call that is watched: how long, how many tokens, what it cost, who answered, and under which id to ask about it."""

import json
import time

from anthropic import Anthropic, APIError

client = Anthropic()


def monitored(**request):
    started = time.monotonic()
    noted = {"model": request["model"], "ok": False}
    try:
        answer = client.messages.with_raw_response.create(**request)
        message = answer.parse()
        noted |= {
            "ok": True,
            "request_id": answer.request_id,
            "answered_by": answer.headers.get("x-freehold-upstream", "claude"),
            "cost_nanodollars": answer.headers.get("x-freehold-cost-nanodollars"),
            "input_tokens": message.usage.input_tokens,
            "output_tokens": message.usage.output_tokens,
        }
        return message
    except APIError as error:
        noted["error"] = type(error).__name__
        raise
    finally:
        noted["seconds"] = round(time.monotonic() - started, 3)
        print(json.dumps(noted))


question = [{"role": "user", "content": "What is a freehold?"}]
monitored(model="claude-haiku-5-5", max_tokens=200, messages=question)
try:
    monitored(model="no-such-model", max_tokens=200, messages=question)
except APIError as error:
    print(f"noted and raised: {error.status_code}")
