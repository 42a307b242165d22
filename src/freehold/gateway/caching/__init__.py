"""What to keep in Claude's prompt cache and for how long, learned from the traffic; and why it was missed. No I/O."""
