#!/usr/bin/env bash
# Makes .venv with a Python of 3.11 or newer, or says what is missing and how to get it.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
if ! "$python" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "Freehold needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1 || echo 'not there')." >&2
  echo "Name another one: make PYTHON=python3.12 …" >&2
  exit 1
fi
echo "Making .venv with $("$python" --version)"
if ! "$python" -m venv .venv; then
  echo "This Python has no venv module. On Debian and Ubuntu: apt-get install python3-venv" >&2
  rm -rf .venv
  exit 1
fi
