"""Who writes the answer: the planner, a script, or an echo."""
