# One command each. Everything is installed into .venv in this checkout; `make help` lists the targets.
