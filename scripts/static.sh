#!/usr/bin/env bash
# Format, lint, types, layers, and the locks' and documents' own truth. No test is run.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
step() { echo "— $1"; shift; "$@"; }
step "format" $bin/ruff format --check --quiet src tests examples benchmarks scripts
step "lint" $bin/ruff check --quiet src tests examples benchmarks scripts
step "types" $bin/mypy --no-error-summary
layers() { $bin/lint-imports --no-logo >.venv/layers.log 2>&1 || { cat .venv/layers.log; return 1; }; }
step "layers" layers
step "documents" $bin/python scripts/write_docs.py --check
