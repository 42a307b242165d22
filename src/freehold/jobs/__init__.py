"""Work that outlives a request: who drives it, how it is woken, and what happens when its driver dies."""
