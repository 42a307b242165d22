"""Container images as the base of a box: read from a file, unpacked without a daemon, kept by digest."""
