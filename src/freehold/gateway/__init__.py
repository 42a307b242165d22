"""From a call to a reply: the pipeline and its middleware. `pipeline.py` is the table of contents."""
