"""Log lines as JSON: with the ids they are about, and never with a key."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import logging, sys
from freehold.telemetry.logs import configure
configure(sys.argv[1])
log = logging.getLogger("freehold.test")
log.warning("%s failed for %s", "req_0Vabc", "sesn_0Vdef")
log.error("the key sk-fh-abcdefghijklmnop was sent, and Bearer abcdefghijklmnopqrstuvwxyz")
try:
    raise ValueError("sk-ant-abcdefghijk")
except ValueError:
    log.exception("went wrong")
"""


def said(form: str) -> str:
    done = subprocess.run([sys.executable, "-c", SCRIPT, form], capture_output=True, text=True, check=True, timeout=60)
    return done.stderr


def test_each_line_is_an_object_with_its_ids() -> None:
    lines = [json.loads(line) for line in said("json").splitlines()]
    assert lines[0]["event"] == "req_0Vabc failed for sesn_0Vdef"
    assert (lines[0]["request_id"], lines[0]["session_id"]) == ("req_0Vabc", "sesn_0Vdef")
    assert (lines[0]["level"], lines[0]["logger"]) == ("warning", "freehold.test")
    assert lines[0]["timestamp"].endswith("Z")
    assert "Traceback" in lines[2]["exception"]


def test_no_line_has_a_key() -> None:
    for form in ("json", "text"):
        told = said(form)
        assert "abcdefghijk" not in told
        assert told.count("[key]") == 3
