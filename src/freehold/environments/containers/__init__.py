"""Boxes as containers of a Docker or Podman daemon on this machine."""
