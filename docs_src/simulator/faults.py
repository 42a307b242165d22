import anthropic

client = anthropic.Anthropic(max_retries=0)
request = {"model": "claude-haiku-5-5", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}

try:
    client.messages.create(**request, extra_headers={"x-freehold-fault": "overloaded; retry_after_s=2"})
except anthropic.OverloadedError as error:
    print(error.status_code, error.response.headers["retry-after"])

try:
    headers = {"x-freehold-fault": "overloaded_in_stream; after=4"}
    with client.messages.stream(**request, extra_headers=headers) as stream:
        for text in stream.text_stream:
            print(text)
except anthropic.APIStatusError as error:
    print("in the middle:", error.body["error"]["type"])
