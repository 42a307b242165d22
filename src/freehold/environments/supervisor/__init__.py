"""Pid 1 of a box: runs every tool call inside it. Only the standard library, and as little of that as start-up allows.

Nothing here is imported by the server: the text of these modules and of `tools/` is compiled and handed into the box
(`bundle.py`). What an import costs is paid by every box that opens, so `json`, `re`, `typing` and `subprocess` are
loaded late or not at all (measured: `import json` alone is 10 ms of a 25 ms start).
"""
