"""Claude, offline: a pure model of the Messages API, brains that answer, and thin faces onto both."""
