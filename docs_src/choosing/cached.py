from anthropic import Anthropic

client = Anthropic()
RULES = "The archive opens at nine. Visitors leave their bags at the door. " * 120
for question in ("When do you open?", "May I bring a bag?", "And a dog?"):
    usage = client.messages.create(
        model="claude-sonnet-5-5",
        max_tokens=100,
        system=RULES,
        messages=[{"role": "user", "content": question}],
    ).usage
    print("written", usage.cache_creation_input_tokens, "read", usage.cache_read_input_tokens)
