#!/usr/bin/env bash
# Resolves pyproject.toml anew and writes the two hashed locks. Run it after a change of dependencies; needs the network.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
[ -x "$uv" ] || .venv/bin/pip install --quiet uv
options=(--quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header)
"$uv" pip compile "${options[@]}" pyproject.toml requirements/build.in -o requirements/run.lock
"$uv" pip compile "${options[@]}" pyproject.toml requirements/build.in --extra dev --constraint requirements/run.lock -o requirements/dev.lock
"$uv" pip compile "${options[@]}" requirements/conformance.in -o requirements/conformance.lock
