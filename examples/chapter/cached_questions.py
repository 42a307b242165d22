"""Questions about one long document, which is written to the cache once and then read: what that costs and saves."""

from anthropic import Anthropic

MODEL = "claude-haiku-5-5"
INPUT, WRITE, READ = 0.10, 0.125, 0.01  # dollars per million tokens
CLAUSE = "Clause {n}: the tenant keeps the garden of plot {n} in good order and pays {n} pounds on the first of May.\n"
# Longer than the model's minimum for caching; a shorter prefix is not cached, without any error.
DOCUMENT = "".join(CLAUSE.format(n=n) for n in range(1, 301))

client = Anthropic()
system = [
    {"type": "text", "text": "Answer from the lease alone."},
    {"type": "text", "text": DOCUMENT, "cache_control": {"type": "ephemeral"}},
]
saved = 0.0
for question in ("What does plot 7 pay?", "Who keeps the gardens?", "When is the rent due?"):
    messages = [{"role": "user", "content": question}]
    usage = client.messages.create(model=MODEL, max_tokens=200, system=system, messages=messages).usage
    written, read = usage.cache_creation_input_tokens or 0, usage.cache_read_input_tokens or 0
    saved += (read * (INPUT - READ) - written * (WRITE - INPUT)) / 1e6
    print(f"{question} written {written}, read {read}, uncached {usage.input_tokens}")
print(f"saved ${saved:.6f}")
