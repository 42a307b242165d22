from anthropic import Anthropic, BadRequestError

client = Anthropic()


def ask(dollars):
    return client.messages.create(
        model="auto",
        max_tokens=300,
        messages=[{"role": "user", "content": "Hello!"}],
        extra_headers={"x-freehold-max-cost-usd": dollars},
    ).model


print(ask("0.05"), ask("0.001"))
try:
    ask("0.00001")
except BadRequestError as error:
    print(error.body["error"]["message"])
