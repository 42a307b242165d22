"""What stays in view: edits, compaction and spilling of message lists; for sessions and for plain Messages. Pure."""
