#!/usr/bin/env bash
# Puts Freehold with its hot path compiled into .venv/compiled, unless what is there was made of these very files.
# It is used by PYTHONPATH=.venv/compiled, which goes before the editable install; that stays interpreted.
# Usage: compiled.sh [check]     `check` makes nothing: 1 says that what is there is not of these files, or nothing is.
set -euo pipefail
cd "$(dirname "$0")/.."
made_of() {
  { .venv/bin/python -VV
    find src/freehold examples -type f -not -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z |
      xargs -0 sha256sum pyproject.toml requirements/dev.lock scripts/hot_path.py scripts/compiled.sh
  } | sha256sum
}
now=$(made_of)
[ "$now" != "$(cat .venv/compiled/made-of 2>/dev/null)" ] || exit 0
[ "${1:-}" != check ] || exit 1
echo "Compiling the hot path into .venv/compiled"
rm -rf .venv/compiled .venv/compiled.new
options=(--quiet --disable-pip-version-check --no-input --no-deps --no-index --no-build-isolation)
if ! HATCH_BUILD_HOOKS_ENABLE=1 .venv/bin/pip install "${options[@]}" --target .venv/compiled.new . 2>.venv/pip.log; then
  cat .venv/pip.log >&2
  exit 1
fi
echo "$now" >.venv/compiled.new/made-of
mv .venv/compiled.new .venv/compiled
