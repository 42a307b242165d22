"""Documents an agent can search: collections, how documents get in, how passages are found. It knows no HTTP."""
