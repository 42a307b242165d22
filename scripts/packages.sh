#!/usr/bin/env bash
# Installs the locked Python packages (every one checked by its hash) and Freehold itself into .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
which=$1
count=$(grep -c '==' "requirements/$which.lock")
echo "Installing $count Python packages of requirements/$which.lock into .venv (once; offline from then on)"
quiet=(--quiet --disable-pip-version-check --no-input)
if ! .venv/bin/pip install "${quiet[@]}" --require-hashes -r "requirements/$which.lock" 2>.venv/pip.log; then
  cat .venv/pip.log >&2
  echo "The packages could not be installed. Is the package index reachable? (pip's own settings apply.)" >&2
  exit 1
fi
.venv/bin/pip install "${quiet[@]}" --no-deps --no-build-isolation --editable . 2>.venv/pip.log || { cat .venv/pip.log >&2; exit 1; }
