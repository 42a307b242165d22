"""Where an agent's tools run: boxes, the files they keep, what they may use and what they can reach."""
