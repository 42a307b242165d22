#!/usr/bin/env bash
# Runs tests against .venv/compiled: the quick ones of the rooms whose modules are compiled, or those that are named.
# Usage: test_compiled.sh [PYTEST OPTION | FILE | FOLDER …]
set -euo pipefail
cd "$(dirname "$0")/.."
tests=(tests/test_compiled.py tests/wire tests/outbound tests/upstreams tests/ledger tests/gateway
  tests/api/test_messages.py tests/api/test_budgets.py tests/api/test_keys.py
  # Long, and of code that `make test` runs interpreted as well.
  --ignore=tests/ledger/test_chaos.py --ignore=tests/ledger/test_reports.py
  --ignore=tests/gateway/caching --ignore=tests/gateway/routing
  --ignore-glob='*/gateway/middleware/test_*cach*' --ignore=tests/gateway/middleware/test_context_edits.py
  --ignore=tests/gateway/middleware/test_fallbacks.py --ignore=tests/gateway/middleware/test_routing_learns.py
  --ignore=tests/gateway/test_departures.py --ignore=tests/gateway/test_recordings.py)
for word in "$@"; do [[ $word == -* ]] || tests=(); done
export PYTHONPATH=$PWD/.venv/compiled
exec .venv/bin/python -m pytest --compiled -m "not soak" -n 2 --dist loadfile --no-loadscope-reorder "${tests[@]}" "$@"
