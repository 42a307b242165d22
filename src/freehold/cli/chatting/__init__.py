"""A conversation on the command line: what was said, what goes along with it, which functions the model may call."""
