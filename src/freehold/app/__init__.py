"""The composition root: settings in, an ASGI application out. The only room that knows all parts, and that makes them.

`build.py` is its table of contents; each other file makes one part. It decides nothing that a part could decide for
itself.
"""
