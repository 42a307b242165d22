"""Which model answers a call that leaves the choice to us: signals, estimates, the rule, and why. No I/O."""
