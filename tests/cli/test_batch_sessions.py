"""A run of sessions whose server goes away: it is broken off, and what was begun can be gone on with."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import freehold


class Leaving(BaseHTTPRequestHandler):
    """Begins one session; whoever looks at it is answered no more."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        made: dict[str, Any] = {"id": "sesn_1"} if self.path.partition("?")[0] == "/v1/sessions" else {"data": []}
        body = json.dumps(made).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def leaving() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Leaving) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


def test_a_server_that_goes_away_leaves_the_sessions_to_go_on_with(leaving: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "one"}\n', "utf-8")
    (tmp_path / "key").write_text("sk-fh-one", "utf-8")
    wanted = ("--agent", "agent_1", "--environment", "env_1", "--out", "out.jsonl")
    done = freehold("batch", "run", "rows.jsonl", *wanted, "--url", leaving, "--key-file", "key", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert f"{leaving} does not answer" in done.stderr and "Traceback" not in done.stderr
    assert json.loads((tmp_path / "out.jsonl.sessions").read_text("utf-8")) == {"0": "sesn_1"}
    assert not (tmp_path / "out.jsonl").exists()
