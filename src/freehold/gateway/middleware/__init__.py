"""One file a feature; each takes the next handler and returns one that does a little more. None knows another."""
