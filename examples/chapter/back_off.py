"""A decorator that tries again with growing, random waits, and waits as long as the server asks where it says so."""

import functools
import random
import time

from anthropic import Anthropic, APIConnectionError, APIStatusError

PASSING = {408, 429, 500, 502, 503, 504, 529}


def with_back_off(attempts=4, base_s=0.2, cap_s=8.0):
    def decorate(function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            for attempt in range(attempts):
                try:
                    return function(*args, **kwargs)
                except (APIStatusError, APIConnectionError) as error:
                    response = getattr(error, "response", None)
                    lasting = response is not None and response.status_code not in PASSING
                    if lasting or attempt == attempts - 1:
                        raise
                    asked = response.headers.get("retry-after") if response is not None else None
                    wait_s = float(asked) if asked else random.random() * min(cap_s, base_s * 2**attempt)
                    print(f"attempt {attempt + 1} failed: {type(error).__name__}; waiting")
                    time.sleep(wait_s)
            raise AssertionError("at least one attempt")

        return wrapped

    return decorate


client = Anthropic(max_retries=0)


@with_back_off()
def ask(question):
    messages = [{"role": "user", "content": question}]
    return client.messages.create(model="claude-haiku-5-5", max_tokens=200, messages=messages)


print("answered:", ask("How are you?").stop_reason)
