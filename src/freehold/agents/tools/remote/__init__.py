"""Tools of MCP servers elsewhere: found, listed and called from this server, never from a box."""
