"""A budget in tokens: counted before each call, corrected after it, and no call that would not fit."""

from anthropic import Anthropic

MODEL = "claude-haiku-5-5"
client = Anthropic()


class TokenBudget:
    """So many tokens, and what is left of them."""

    def __init__(self, tokens):
        self.left = tokens

    def ask(self, question, max_tokens):
        """The answer, or `None` if it might not fit any more."""
        messages = [{"role": "user", "content": question}]
        needed = client.messages.count_tokens(model=MODEL, messages=messages).input_tokens + max_tokens
        if needed > self.left:
            return None
        message = client.messages.create(model=MODEL, max_tokens=max_tokens, messages=messages)
        self.left -= message.usage.input_tokens + message.usage.output_tokens
        return message


budget = TokenBudget(600)
asked = 0
while budget.ask("Describe a cottage in two sentences.", 200) is not None:
    asked += 1
    print(f"call {asked}: {budget.left} tokens left")
print(f"refused after {asked} calls, {budget.left} tokens left")
