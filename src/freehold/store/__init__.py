"""What survives a crash: tables, migrations, the group-commit writer, leases and fences. Only this room speaks SQL.

`engine.Store` is the door. Each subject has a file of its own (`session_log`, `keys`, `files` …) whose functions take
a connection: one from `Store.read()` for looking, the one that `Store.write(op)` hands to `op` for changing.
"""
