#!/usr/bin/env bash
# Runs tests against .venv/compiled: a slice that goes through all that is compiled, or those that are named.
# Usage: test_compiled.sh [PYTEST OPTION | FILE | FOLDER …]
set -euo pipefail
cd "$(dirname "$0")/.."
# The quickest that go through every module of the list; what else these modules do, `make test` tries interpreted.
tests=(tests/api/test_messages.py tests/gateway/middleware/test_retries.py tests/gateway/test_budgets.py
  tests/ledger/test_{bounds,journal,periods,protocol,rates}.py tests/gateway/routing tests/gateway/test_buckets.py
  tests/gateway/middleware/test_{deadlines,limits,routing,routing_learns}.py tests/api/test_{budgets,keys}.py
  tests/outbound tests/upstreams/test_{claude,network}.py tests/telemetry/test_calls.py tests/store/test_rows.py
  tests/wire/test_{cuts,frames,headers}.py tests/test_compiled.py)
for word in "$@"; do [[ $word == -* ]] || tests=(); done
export PYTHONPATH=$PWD/.venv/compiled
exec .venv/bin/python -m pytest --compiled -m "not soak" -n 2 --dist loadfile --no-loadscope-reorder "${tests[@]}" "$@"
