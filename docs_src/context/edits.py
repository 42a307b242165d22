from anthropic import Anthropic

client = Anthropic()
messages = [{"role": "user", "content": "Which of the twelve log files names the fault?"}]
for number in range(12):
    call = {"type": "tool_use", "id": f"toolu_{number}", "name": "read_log", "input": {"number": number}}
    text = f"Log {number}: the pump ran without a fault and was switched off in the evening. " * 60
    messages += [
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": text}]},
    ]
answer = client.beta.messages.create(
    model="claude-haiku-5-5",
    max_tokens=300,
    messages=messages,
    tools=[{"name": "read_log", "description": "Read a log file.", "input_schema": {"type": "object"}}],
    betas=["context-management-2025-06-27"],
    context_management={
        "edits": [{"type": "clear_tool_uses_20250919", "trigger": {"type": "input_tokens", "value": 5_000}}]
    },
)
for edit in answer.context_management.applied_edits:
    print(edit.type, "cleared", edit.cleared_tool_uses, "results:", edit.cleared_input_tokens, "tokens")
