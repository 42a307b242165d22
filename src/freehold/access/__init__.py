"""Who may: workspaces, API keys and their roles, secrets at rest, and what the first start leaves behind."""
