"""Our boxes for any server's work queue: a session that is orchestrated elsewhere runs its tools here."""
