"""The six tools of the agent toolset: what the model is told (`specs.py`), and what runs inside the box (the rest)."""
