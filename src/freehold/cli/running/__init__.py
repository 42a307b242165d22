"""One task for one agent, watched while it works: what is prepared, what is shown, what is asked."""
