#!/usr/bin/env bash
# An environment of its own for the clients of the conformance suite, in .venv/conformance; once, and offline from then on.
set -euo pipefail
cd "$(dirname "$0")/.."
lock=requirements/conformance.lock place=.venv/conformance
[ "$place/done" -nt "$lock" ] && exit 0
echo "Installing $(grep -c '==' $lock) Python packages of $lock into $place (once; offline from then on)"
rm -rf "$place"
.venv/bin/python -m venv "$place"
if ! "$place/bin/pip" install --quiet --disable-pip-version-check --no-input --require-hashes -r "$lock" 2>"$place/pip.log"; then
  cat "$place/pip.log" >&2
  echo "The clients could not be installed. Is the package index reachable? (pip's own settings apply.)" >&2
  exit 1
fi
touch "$place/done"
