"""One file a revision, named by its number: `0001_initial.py`. The highest number is the head."""
