import json

import anthropic

ORDERS = {"ord_7": {"item": "teapot", "amount": 24.5}}
GET_ORDER = {
    "name": "get_order",
    "description": "Look up an order",
    "input_schema": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
}


def support(question: str) -> str:
    """The code under test: asks Claude, runs its tool, gives its answer."""
    messages = [{"role": "user", "content": question}]
    with anthropic.Anthropic() as client:
        while True:
            answer = client.messages.create(
                model="claude-haiku-5-5", max_tokens=500, tools=[GET_ORDER], messages=messages
            )
            calls = [block for block in answer.content if block.type == "tool_use"]
            if not calls:
                return "".join(block.text for block in answer.content if block.type == "text")
            messages.append({"role": "assistant", "content": answer.content})
            messages.append({"role": "user", "content": [run(call) for call in calls]})


def run(call: anthropic.types.ToolUseBlock) -> dict:
    order = ORDERS.get(call.input["order_id"])
    result = {"type": "tool_result", "tool_use_id": call.id, "content": json.dumps(order)}
    return result if order else {**result, "content": "no such order", "is_error": True}
