"""The HTTP surface, one file per resource: parse, call one function, render."""
