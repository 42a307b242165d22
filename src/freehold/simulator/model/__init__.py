"""What the real API would do, as arithmetic and tables: no I/O, no clock; the time is an argument."""
