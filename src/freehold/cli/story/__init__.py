"""The demo told as a story: a conversation, an agent at work, a crash survived, the bill."""
