"""From a session's event to the next: the loop that asks the model and runs its tools. It knows no gateway, no HTTP."""
