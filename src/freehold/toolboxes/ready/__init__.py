"""Toolboxes that are ready made: SQL databases, HTTP APIs, folders of files; declared in the configuration file."""
