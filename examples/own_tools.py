"""Your own Python functions as an agent's tools. This one file is both the toolbox and the program that uses it.

Start the server with it, then run it (with ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY set):

    freehold serve --tools examples/own_tools.py
    python examples/own_tools.py
"""

from anthropic import Anthropic, beta_tool

STOCK = {"green tea": 120, "teapot": 4, "ink stone": 0}


@beta_tool
def stock_of(product: str) -> str:
    """How many pieces of a product are in stock. 查询库存。

    Args:
        product: the name in quotes, such as "teapot"
    """
    if product not in STOCK:
        raise LookupError(f"no product {product!r}; there are: {', '.join(STOCK)}")
    return f"{STOCK[product]} pieces of {product}"


def main() -> None:
    """Ask an agent that may call `stock_of`."""
    client = Anthropic()
    environment = client.beta.environments.create(name="example", config={"type": "cloud"})
    agent = client.beta.agents.create(
        name="Stock keeper",
        model="claude-sonnet-5-5",
        mcp_servers=[{"type": "url", "name": "own_tools", "url": "toolbox:own_tools"}],
        tools=[
            {
                "type": "mcp_toolset",
                "mcp_server_name": "own_tools",
                "default_config": {"permission_policy": {"type": "always_allow"}},
            }
        ],
    )
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    question = 'How many pieces of the product "teapot" are in stock?'
    with client.beta.sessions.events.stream(session.id) as events:
        client.beta.sessions.events.send(
            session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": question}]}]
        )
        for event in events:
            if event.type == "agent.mcp_tool_use":
                print(f"{event.name}({event.input})")
            elif event.type == "agent.mcp_tool_result" or event.type == "agent.message":
                print(*(block.text for block in event.content or [] if block.type == "text"))
            elif event.type == "session.status_idle":
                break


if __name__ == "__main__":
    main()
