"""Pages over the public API, rendered here, with no door of their own: what a key may not see, its pages do not show.

`site.py` is the table of contents. Nothing is loaded from elsewhere; a little plain JavaScript shows what is live.
"""
