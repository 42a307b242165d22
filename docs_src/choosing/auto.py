from anthropic import Anthropic

client = Anthropic()
for question in ("Translate “good morning” into French.", "Design the archive of a small town.", "Hello!"):
    reply = client.messages.with_raw_response.create(
        model="auto", max_tokens=300, messages=[{"role": "user", "content": question}]
    )
    print(reply.parse().model, "|", reply.headers["x-freehold-route"])
