"""Three ways to set a client up: from the environment, with a key of its own, and with what an enterprise asks for."""

import os

from anthropic import Anthropic

from_environment = Anthropic()
explicit = Anthropic(api_key=os.environ["ANTHROPIC_API_KEY"])
enterprise = Anthropic(timeout=60.0, max_retries=3, default_headers={"X-Request-Source": "billing-service"})

for name, client in {"environment": from_environment, "explicit": explicit, "enterprise": enterprise}.items():
    with client:
        answer = client.messages.with_raw_response.create(
            model="claude-haiku-5-5", max_tokens=50, messages=[{"role": "user", "content": "Say hello."}]
        )
        print(f"{name}: {answer.http_response.status_code}, {answer.parse().stop_reason}, {answer.request_id}")
